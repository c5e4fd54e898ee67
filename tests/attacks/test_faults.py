"""Faults planted in the scoring code, one at a time: each must turn a question red.

A question that no fault can fail asks nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.special import digamma
from scipy.stats import rankdata

from membrane.attacks import (
    ATTACKS,
    Attack,
    LiRA,
    LossTrajectory,
    RangeMembership,
    ShadowClassifier,
    StudentLiRA,
    base,
    class_thresholds,
    ensemble,
    entropy,
    label_robustness,
    leave_out,
    lineup,
    lira_student,
    modified_entropy,
    per_sample,
    population,
    references,
    region,
    reveal,
    rmia_offline,
    rmia_vote,
)
from membrane.attacks.learned import Learned
from membrane.attacks.leave_out import LogSumsBut, MomentsBut
from membrane.attacks.lineup import Lineup
from membrane.attacks.networks import Networks, Trials
from membrane.attacks.on_base import OnBase
from membrane.attacks.on_reading import OnReading
from membrane.attacks.references import Array, Moments
from membrane.core.errors import MembraneError
from membrane.core.values import SIGNAL_KINDS, Bools, Floats, Observation, Signals
from tests.attacks import questions
from tests.attacks.bank import draw_bank
from tests.attacks.rows import ATTACK_ROWS, Row
from tests.attacks.slow_learned import SMALL

RED = (AssertionError, MembraneError, RuntimeWarning, pytest.fail.Exception)
Plant = Callable[[pytest.MonkeyPatch], None]
Question = Callable[[Attack], None]
Score = Callable[[Any, Observation], Any]

sound_moments, sound_share = Moments.of, rmia_offline.share_beaten
sound_but, sound_mean_but = MomentsBut.but, LogSumsBut.mean_but
sound_targets, sound_side = Lineup._targets, lineup._side
sound_density, sound_student_ratio = StudentLiRA._log_density, StudentLiRA.compared
sound_prior, sound_pairs_won = lira_student.fitted_prior, rmia_vote.pairs_won
sound_trimmed, sound_neighbours = RangeMembership._trimmed, per_sample.neighbours
sound_scores, sound_answer = Learned._scores, Networks.answer
sound_log_mean_exp = references.log_mean_exp
sound_regions_of = region.regions_of


@dataclass(frozen=True)
class Fault:
    """What is broken, in which attack, how, and the question that must see it."""

    what: str
    attack: Attack
    plant: Plant
    question: Question

    def __str__(self) -> str:
        return f"{self.attack.name}: {self.what}"


def patched(owner: Any, name: str, broken: Any) -> Plant:  # noqa: ANN401
    """Replace an attribute of a class or module."""
    return lambda patch: patch.setattr(owner, name, broken)


def scoring(name: str, change: Callable[[Score, Any, Observation], Any]) -> Plant:
    """Replace ``score`` of an attack; ``change`` gets the sound one first."""
    cls = ATTACKS.entry(name)
    sound = cls.score
    return patched(cls, "score", lambda attack, seen: change(sound, attack, seen))


def row_of(name: str, **settings: object) -> Row:
    return next(row for row in ATTACK_ROWS if row.name == name and row.settings == settings)


def formula(name: str, **settings: object) -> tuple[Attack, Question]:
    """An attack of the table and the question whether it equals its slow formula."""
    row = row_of(name, **settings)
    return row.attack, lambda attack: questions.equals_slow_formula(attack, row.slow)


def negated(sound: Score, attack: Attack, seen: Observation) -> Array:
    return -sound(attack, seen)


def swapped(sound: Score, attack: Attack, seen: Observation) -> Array:
    return sound(attack, dataclasses.replace(seen, in_reference=~seen.in_reference))


def two_sided(sound: Score, attack: Attack, seen: Observation) -> Array:
    return sound(attack, seen) ** 2


def by_place(sound: Score, attack: Attack, seen: Observation) -> Array:
    return sound(attack, seen) + np.arange(len(seen.labels))


def by_entropy(sound: Score, attack: Attack, seen: Observation) -> Array:
    return sound(attack, seen) - 1e-9 * seen.target.entropy[:, 0]


def std_with_n(self: Moments, per_example: bool, least: float) -> Array:
    if per_example:
        return np.maximum(np.sqrt(self.squares / self.count), least)
    return np.maximum(np.sqrt(self.squares.sum(axis=0) / self.count.sum()), least)[None]


def uncentred(values: Floats, chosen: Bools) -> Moments:
    marked = np.broadcast_to(chosen[..., None], values.shape)
    squares = np.where(marked, (values - values[marked].mean()) ** 2, 0).sum(axis=0)
    return dataclasses.replace(sound_moments(values, chosen), squares=squares)


def std_of_in_models(sound: Score, attack: Attack, seen: Observation) -> Array:
    std = Moments.of(seen.reference.rescaled_logit, seen.in_reference).std(per_example=False, least=1e-6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Moments, "std", lambda *_: std)
        return sound(attack, seen)


def mean_of_logs(values: Floats, chosen: Bools) -> Array:
    return np.where(chosen[..., None], values, 0).sum(axis=0) / chosen.sum(axis=0)[:, None]


def log_of_mean(values: Floats, chosen: Bools) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(np.where(chosen[..., None], np.exp(values), 0).sum(axis=0) / chosen.sum(axis=0)[:, None])


def strictly_beaten(log_x: Array, log_z: Array, gamma: float) -> Array:
    return sound_share(np.nextafter(log_x, -np.inf), log_z, gamma)


def not_converted(self: Attack, log_p_out: Array) -> Array:
    return log_p_out


def mean_of_log_odds(sound: Score, attack: Attack, seen: Observation) -> Array:
    return seen.target.rescaled_logit.mean(axis=1)


def probability(sound: Score, attack: Attack, seen: Observation) -> Array:
    return np.exp(-seen.target.loss.astype(np.float64)).mean(axis=1)


def mean_of_log_entropies(values: Floats) -> Array:
    return -np.log(values).mean(axis=1)


def log_of_zero(values: Floats) -> Array:
    with np.errstate(divide="ignore"):
        return -np.log(values.mean(axis=1))


def in_nats(values: Floats) -> Array:
    return -values.mean(axis=1)


def of_entropy(sound: Score, attack: Attack, seen: Observation) -> Array:
    return -np.log(seen.target.entropy.mean(axis=1))


def without_classes(sound: Score, attack: Attack, seen: Observation) -> Array:
    return sound(attack, dataclasses.replace(seen, labels=np.zeros_like(seen.labels)))


def lowest_threshold(members: Array, non_members: Array) -> float:
    """Of those that are equally good."""
    return min(members, key=lambda value: (np.mean(non_members >= value) - np.mean(members >= value), value))


def unbalanced_threshold(members: Array, non_members: Array) -> float:
    candidates = np.sort(members)
    return max(candidates, key=lambda value: (members >= value).sum() - (non_members >= value).sum())


def over_all_references(sound: Score, attack: Attack, seen: Observation) -> Array:
    return sound(attack, dataclasses.replace(seen, in_reference=np.zeros_like(seen.in_reference)))


def target_every_time(self: OnBase, seen: Observation) -> list[Array]:
    return [self.base.score(seen)] * len(seen.in_reference)


def log_sum_exp(values: Floats, chosen: Bools) -> Array:
    return sound_log_mean_exp(values, chosen) + np.log(chosen.sum(axis=0))[:, None]


def out_models_only(sound: Score, attack: Attack, seen: Observation) -> Array:
    loss = np.where(seen.in_reference[..., None], 1e6, seen.reference.loss)
    return sound(attack, dataclasses.replace(seen, reference=dataclasses.replace(seen.reference, loss=loss)))


def copies_for_kinds(read: Floats) -> dict[str, Floats]:
    apart = read.reshape(*read.shape[:-1], 2, len(SIGNAL_KINDS))
    return {kind: apart[..., place] for place, kind in enumerate(SIGNAL_KINDS)}


def n_of_all(self: MomentsBut, model: int, value: Array) -> Moments:
    left = sound_but(self, model, value)
    return dataclasses.replace(left, count=left.count + 1)


def nobody_left_out(self: MomentsBut, model: int, value: Array) -> Moments:
    return sound_but(self, -1, self.pivot + self.offset)


def mean_of_all(self: MomentsBut, model: int, value: Array) -> Moments:
    return dataclasses.replace(sound_but(self, model, value), pivot=self.pivot, offset=self.offset)


def as_if_nobody_stood_out(self: MomentsBut, model: int, value: Array) -> Moments:
    return sound_but(dataclasses.replace(self, farthest=np.full_like(self.farthest, -1)), model, value)


def difference_of_sums(self: LogSumsBut, model: int, *values: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.exp(self.total) - sum(np.exp(value) for value in values)
        return np.log(np.where(left > 0, left, np.nan)) - np.log(len(values) * (self.n - 1))


def other_pair_left_out(self: MomentsBut, model: int, value: Array) -> Moments:
    return sound_but(self, model ^ 1, value)


def one_too_many(self: LogSumsBut, model: int, *values: Array) -> Array:
    return sound_mean_but(self, model, *values) - np.log(self.n / (self.n - 1))


def as_logarithms(doubt: Array, log_p: Array) -> Array:
    return log_p


def with_the_partner(self: Lineup, values: Floats, sides: tuple[str, ...]) -> Iterator[tuple[int, Array, list[Array]]]:
    """Only the target is left out, of whichever side it is on."""
    for target, (pair, value, said) in enumerate(sound_targets(self, values, sides)):
        is_in = self.membership[target, :, None]
        own = [is_in if side == "in" else ~is_in for side in sides]
        yield pair, value, [np.where(mine, one, 0.0) for mine, one in zip(own, said, strict=True)]


def other_side(side: str, is_first: Bools, first: Array, second: Array) -> Array:
    return sound_side(side, ~is_first, first, second)


def one_more_freedom(self: StudentLiRA, logit: Floats, group: Moments) -> Array:
    return sound_density(self, logit, dataclasses.replace(group, count=group.count + 1))


def certain_mean(self: StudentLiRA, logit: Floats, group: Moments) -> Array:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Moments, "deviation", lambda one, value: (value - one.pivot - one.offset) * one.factor)
        object.__setattr__(group, "factor", np.sqrt(1 + 1 / group.count))
        return sound_density(self, logit, group)


def biased_logs(variance: Array, freedom: Array) -> tuple[Array, Array]:
    half, scale = sound_prior(variance, freedom)
    return half, scale * np.exp((digamma(freedom / 2) - np.log(freedom / 2)).mean())


def flat_prior(variance: Array, freedom: Array) -> tuple[Array, Array]:
    return tuple(0 * one for one in sound_prior(variance, freedom))


def swapped_groups(self: StudentLiRA, logit: Floats, *groups: Moments) -> Array:
    return sound_student_ratio(self, logit, *groups[::-1])


def half_is_enough(log_x: Array, log_z: Array) -> Array:
    beaten = (log_x[:, None] >= log_z).sum(axis=2)
    return (beaten >= log_x.shape[1] / 2).sum(axis=1).astype(float)


def all_queries_needed(log_x: Array, log_z: Array) -> Array:
    return (log_x[:, None] >= log_z).all(axis=2).sum(axis=1).astype(float)


def queries_averaged_first(log_x: Array, log_z: Array) -> Array:
    return sound_pairs_won(log_x.mean(axis=1, keepdims=True), log_z.mean(axis=1, keepdims=True))


def won_strictly(log_x: Array, log_z: Array) -> Array:
    return sound_pairs_won(np.nextafter(log_x, -np.inf), log_z)


def trimmed_above(self: RangeMembership, scores: list[Array]) -> Array:
    return sound_trimmed(self, [-one for one in scores]) * -1


def one_query_too_many(self: RangeMembership, scores: list[Array]) -> Array:
    n = len(scores)
    return np.sort(scores, axis=0)[int(n * self.drop_lowest) + 1 :].mean(axis=0)


def one_accuser_less(scores: list[Array], rule: str) -> Array:
    shares = np.sort([rankdata(one, axis=-1) / one.shape[-1] for one in scores], axis=0)
    return shares[min({"coverage": 1, "stability": 0, "majority": 1}[rule] + 1, len(shares) - 1)]


def first_of_ties(scores: Array) -> Array:
    return rankdata(scores, axis=-1, method="min") / scores.shape[-1]


def peeking(self: Attack, line: Lineup) -> Array:
    return np.stack([self.score(line.observe(t)) for t in range(line.n_models)]) + line.membership


def among_all(target: Array, known: Array, chosen: Bools) -> tuple[Array, Array, Array]:
    return sound_neighbours(target, known, np.ones_like(chosen))


def keeps_itself(seen: Observation, row: int) -> Observation:
    return dataclasses.replace(seen, target=seen.reference.map(lambda values: values[row]))


def all_at_once_faults(name: str | Attack, owner: Any, **broken: Any) -> list[Fault]:  # noqa: ANN401
    """Faults of the fast way that the comparison with the slow one must see."""
    question = questions.says_the_same_of_all_targets_at_once
    attack = name if isinstance(name, Attack) else formula(name)[0]
    return [Fault(f"all at once, {one.__name__}", attack, patched(owner, at, one), question)
            for at, ones in broken.items() for one in ones]  # fmt: skip


def lira_faults(name: str) -> list[Fault]:
    (attack, question), (single, of_single) = formula(name), formula(name, variance="per_example")
    return [
        Fault("n instead of n - 1", attack, patched(Moments, "std", std_with_n), question),
        Fault("n instead of n - 1, per example", single, patched(Moments, "std", std_with_n), of_single),
        Fault("pooled about one mean", attack, patched(Moments, "of", staticmethod(uncentred)), question),
        Fault("few models, one variance each", attack, patched(references, "MANY_MODELS", 2), question),
    ]


def target_scaled_by_itself(self: Networks, group: int, inputs: Floats) -> Array:
    own = dataclasses.replace(self, mean=np.broadcast_to(inputs.mean(axis=0), self.mean.shape))
    return sound_answer(own, group, inputs)


def last_losses(self: LossTrajectory, signals: Signals) -> Floats:
    return np.repeat(signals[self.readings[0].key][..., -1:], 3, axis=-1)


def not_scaled(sound: Score, attack: Attack, seen: Observation) -> Array:
    return sound(attack, seen) * seen.target[attack.readings[0].key][:, 1]


def margin_alone(sound: Score, attack: Attack, seen: Observation) -> Array:
    return seen.target.margin.mean(axis=1) / seen.target[attack.readings[0].key][:, 1]


def with_its_partner(target: int, n_models: int) -> Any:  # noqa: ANN401
    return np.delete(np.arange(n_models), target)


def rmia_fault(what: str, name: str, broken: Any, question: Question | None = None, **settings: object) -> Fault:  # noqa: ANN401
    attack, equals = formula("rmia_offline", **settings)
    return Fault(what, attack, patched(rmia_offline, name, broken), question or equals)


def fault(what: str, name: str, plant: Plant) -> Fault:
    """One that the slow formula must see."""
    attack, equals = formula(name)
    return Fault(what, attack, plant, equals)


FAULTS = [
    *(
        Fault("sign dropped", row.attack, scoring(row.name, negated),
              lambda attack: questions.finds_planted_leak(attack, 0.5))
        for row in ATTACK_ROWS
    ),
    # The midpoint, online RMIA and online BASE treat IN and OUT alike: nothing to swap there.
    *(
        Fault("IN and OUT swapped", formula(name)[0], scoring(name, swapped), formula(name)[1])
        for name in ("reference", "lira", "lira_offline", "rmia_offline", "base_offline", "calibration",
                     "class_thresholds")
    ),
    *(fault for name in ("lira", "lira_offline") for fault in all_at_once_faults(
        name, MomentsBut, but=[n_of_all, nobody_left_out, mean_of_all, other_pair_left_out])),
    *(fault for name in ("lira", "lira_offline") for fault in all_at_once_faults(
        row_of(name, variance="per_example").attack, MomentsBut, but=[as_if_nobody_stood_out])),
    *all_at_once_faults("midpoint", MomentsBut, but=[nobody_left_out, mean_of_all, other_pair_left_out]),
    *(fault for name in ("rmia", "rmia_offline", "base", "base_offline") for fault in all_at_once_faults(
        name, LogSumsBut, mean_but=[difference_of_sums, one_too_many])),
    *(fault for name in ("rmia", "rmia_offline") for fault in all_at_once_faults(
        name, leave_out, sure_or_not=[as_logarithms])),
    *(fault for name in ("lira", "lira_offline", "midpoint", "rmia", "rmia_offline", "base_offline")
      for fault in all_at_once_faults(name, Lineup, _targets=[with_the_partner])),
    *(fault for name in ("lira", "lira_offline", "rmia_offline", "base_offline")
      for fault in all_at_once_faults(name, lineup, _side=[other_side])),
    *(fault("IN and OUT swapped", "lira_student", patched(StudentLiRA, "compared", one)) for one in [swapped_groups]),
    *(fault(one.__name__, "lira_student", patched(StudentLiRA, "_log_density", one))
      for one in (one_more_freedom, certain_mean)),
    *(fault(one.__name__, "lira_student", patched(lira_student, "fitted_prior", one))
      for one in (biased_logs, flat_prior)),
    *(fault(one.__name__, "rmia_vote", patched(rmia_vote, "pairs_won", one))
      for one in (all_queries_needed, queries_averaged_first)),
    Fault("an exact half is a majority", row_of("rmia_vote").attack, patched(rmia_vote, "pairs_won", half_is_enough),
          questions.counts_no_exact_half),
    Fault("z beaten strictly", row_of("rmia_vote").attack, patched(rmia_vote, "pairs_won", won_strictly),
          questions.counts_equal_ratios_as_beaten),
    *(fault(one.__name__, "range", patched(RangeMembership, "_trimmed", one))
      for one in (trimmed_above, one_query_too_many)),
    *(Fault(f"one accuser too few or too many, {rule}", formula("ensemble", rule=rule)[0],
            patched(ensemble, "combined", one_accuser_less), formula("ensemble", rule=rule)[1])
      for rule in ("majority", "stability")),
    Fault("ties rank lowest", formula("ensemble", rule="coverage")[0], patched(ensemble, "shares_of", first_of_ties),
          questions.ranks_ties_in_the_middle),
    fault("sizes read as logits", "region",
          patched(region, "regions_of", lambda of, read: sound_regions_of("magnitude", read))),
    Fault("the input taken for a region", formula("region", of="gradient", region=2)[0],
          patched(region, "regions_of", lambda of, read: read), formula("region", of="gradient", region=2)[1]),
    fault("the models' own answers", "region", patched(OnReading, "_moved", lambda self, signals: signals)),
    fault("answers before training on", "reveal", patched(OnReading, "_moved", lambda self, signals: signals)),
    fault("the models' own losses", "rmia_taylor", patched(OnReading, "_moved", lambda self, signals: signals)),
    fault("the image itself alone", "label_augmented",
          patched(label_robustness, "over_queries", lambda bits: bits[:, -1])),
    fault("fragile ones are members", "label_boundary", scoring("label_boundary", negated)),
    fault("copies for kinds", "reveal", patched(reveal, "by_kind", copies_for_kinds)),
    fault("a reference among its own references", "per_sample", patched(per_sample, "without", keeps_itself)),
    fault("IN references too", "per_sample", patched(per_sample, "neighbours", among_all)),
    *(Fault("IN and OUT swapped", formula(name, **SMALL)[0], scoring(name, swapped), formula(name, **SMALL)[1])
      for name in ("shadow_classifier", "ml_leaks")),
    Fault("one network for all classes", formula("shadow_classifier", **SMALL)[0],
          patched(ShadowClassifier, "per_class", False), formula("shadow_classifier", **SMALL)[1]),
    Fault("target brought to mean 0 by itself", formula("ml_leaks", **SMALL)[0],
          patched(Networks, "answer", target_scaled_by_itself), formula("ml_leaks", **SMALL)[1]),
    Fault("trials as they come", formula("ml_leaks", **SMALL)[0],
          patched(Trials, "sorted", lambda one: (one.inputs.astype(float), one.is_member)), questions.follows_examples),
    Fault("the pair's scores exchanged", formula("ml_leaks", **SMALL)[0],
          patched(Learned, "_scores", lambda *args: sound_scores(*args)[::-1]),
          questions.says_the_same_of_all_targets_at_once),
    Fault("last losses alone", formula("loss_trajectory", **SMALL, epochs=2)[0],
          patched(LossTrajectory, "inputs", last_losses), formula("loss_trajectory", **SMALL, epochs=2)[1]),
    fault("in logits, whatever they spread", "quantile_regression", scoring("quantile_regression", not_scaled)),
    fault("nothing is expected", "quantile_regression", scoring("quantile_regression", margin_alone)),
    Fault("the partner among the references", formula("ml_leaks", **SMALL)[0],
          patched(lineup, "without_pair", with_its_partner), questions.looks_at_no_targets_membership),
    Fault("looks up who is a member", row_of("lira").attack, patched(LiRA, "score_all", peeking),
          questions.looks_at_no_targets_membership),
    *lira_faults("lira"),
    *lira_faults("lira_offline"),
    Fault("IN's variance for OUT", row_of("lira").attack, scoring("lira", std_of_in_models), formula("lira")[1]),
    Fault("two-sided", row_of("lira_offline").attack, scoring("lira_offline", two_sided), questions.orders_huge_logits),
    rmia_fault("z beaten strictly", "share_beaten", strictly_beaten, questions.counts_equal_ratios_as_beaten),
    rmia_fault("mean of logarithms", "log_mean_exp", mean_of_logs),
    rmia_fault("probabilities underflow", "log_mean_exp", log_of_mean, questions.bears_extreme_references,
               gamma=2.0, a=1.0),
    rmia_fault("gamma upside down", "share_beaten", lambda x, z, gamma: sound_share(x, z, 1 / gamma), gamma=2.0, a=1.0),
    Fault("P(z) not converted", row_of("rmia").attack,
          patched(rmia_offline.OfflineRMIA, "from_out", not_converted), formula("rmia")[1]),
    fault("mean of log-odds", "confidence", scoring("confidence", mean_of_log_odds)),
    Fault("as a probability", row_of("confidence").attack, scoring("confidence", probability),
          questions.tells_the_surest_apart),
    fault("mean of logarithms", "entropy", patched(entropy, "minus_log", mean_of_log_entropies)),
    Fault("logarithm of nothing", row_of("entropy").attack, patched(entropy, "minus_log", log_of_zero),
          questions.bears_an_entropy_of_nothing),
    fault("entropy as it is", "modified_entropy", scoring("modified_entropy", of_entropy)),
    Fault("z beaten strictly", row_of("population").attack, patched(population, "share_beaten", strictly_beaten),
          questions.counts_equal_ratios_as_beaten),
    fault("one threshold for all classes", "class_thresholds", scoring("class_thresholds", without_classes)),
    Fault("entropies in nats less a threshold", row_of("class_thresholds").attack,
          patched(modified_entropy, "minus_log", in_nats), questions.tells_the_surest_apart),
    fault("lowest threshold of equally good ones", "class_thresholds",
          patched(class_thresholds, "best_threshold", lowest_threshold)),
    fault("most right answers, unbalanced", "class_thresholds",
          patched(class_thresholds, "best_threshold", unbalanced_threshold)),
    fault("chosen on the target", "class_thresholds", patched(OnBase, "of_references", target_every_time)),
    fault("mean over IN and OUT", "calibration", scoring("calibration", over_all_references)),
    fault("nothing to compare with", "calibration", patched(OnBase, "of_references", target_every_time)),
    fault("sum instead of mean", "base", patched(base, "log_mean_exp", log_sum_exp)),
    fault("OUT models only", "base", scoring("base", out_models_only)),
    Fault("looks at the place", row_of("loss").attack, scoring("loss", by_place), questions.follows_examples),
    Fault("reads an undeclared signal", row_of("loss").attack, scoring("loss", by_entropy),
          questions.reads_only_what_it_declares),
    Fault("NaN let through", row_of("lira").attack, patched(Attack, "_check", lambda *_: None),
          questions.refuses_what_is_not_finite),
    *(
        Fault("needs not checked", row_of(name).attack, patched(Attack, "missing", lambda *_: []),
              questions.says_what_is_missing)
        for name in ("midpoint", "lira", "rmia_offline", "population", "calibration")
    ),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_fault_turns_a_question_red(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    fault.question(fault.attack)
    fault.plant(monkeypatch)
    with pytest.raises(RED):
        fault.question(fault.attack)


def test_a_partner_that_is_kept_gives_the_label_away() -> None:
    """With nothing leaking at all: the counts tell members from non-members, and LiRA drifts off one half."""
    assert questions.pooled_auc(lambda seen: -seen.n_in, draw_bank(7, 0.0), keep_partner=True) == 1.0
    with pytest.raises(AssertionError, match="where nothing leaks"):
        questions.finds_nothing_where_nothing_is(row_of("lira").attack, keep_partner=True)
