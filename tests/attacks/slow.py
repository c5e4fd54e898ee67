"""Every attack once more, the slow way: loops over examples, queries and references, textbook formulas, float64."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import norm
from scipy.stats import t as student

from membrane.core.values import SIGNAL_KINDS, Floats, Observation, Signals
from membrane.readings import Expectation, Gradients, Posteriors, RegionOutputs, Revealed

Array = npt.NDArray[np.float64]
Slow = Callable[[Observation], Array]


def sides(values: Floats, seen: Observation, n: int, q: int) -> tuple[list[float], list[float]]:
    """Values (R, N, Q) of the IN and of the OUT references on query ``q`` of example ``n``."""
    inside = [float(values[r, n, q]) for r in range(len(values)) if seen.in_reference[r, n]]
    outside = [float(values[r, n, q]) for r in range(len(values)) if not seen.in_reference[r, n]]
    return inside, outside


def mean_over_queries(seen: Observation, one: Callable[[int, int], float]) -> Array:
    n_examples, n_queries = seen.target.shape
    return np.array([sum(one(n, q) for q in range(n_queries)) / n_queries for n in range(n_examples)])


def loss(seen: Observation) -> Array:
    return mean_over_queries(seen, lambda n, q: -float(seen.target.loss[n, q]))


def log_odds(logits: list[float]) -> float:
    """Of the mean over queries of the probabilities behind ``logits``."""
    p = sum(1 / (1 + math.exp(-logit)) for logit in logits) / len(logits)
    return math.log(p / (1 - p))


def minus_log_mean(values: list[float]) -> float:
    return -math.log(sum(values) / len(values))


def minus_mean(values: list[float]) -> float:
    return -sum(values) / len(values)


def target_only(kind: str, score: Callable[[list[float]], float]) -> Slow:
    """An attack that makes its ``score`` of the target's signals of one kind, a list over queries."""
    return lambda seen: np.array([score(queries) for queries in seen.target[kind].tolist()])


def correctness(seen: Observation) -> Array:
    return mean_over_queries(seen, lambda n, q: float(seen.target.correct[n, q]))


def gradient_norm(columns: slice) -> Slow:
    def slow(seen: Observation) -> Array:
        norms = seen.target[Gradients().key].tolist()
        return np.array([-math.log(max(math.sqrt(sum(one * one for one in row[columns])), 1e-45)) for row in norms])

    return slow


def region(base: Slow, of: str, position: int) -> Slow:
    """``base`` on one column of a reading, told as the rescaled logit."""

    def number(row: list[float]) -> float:
        if of == "gradient":
            return -math.log(max(row[1:][position], 1e-45))
        n_regions = len(row) // 2
        return (row[:n_regions] if of == "readout" else row[n_regions:])[position]

    key = (Gradients() if of == "gradient" else RegionOutputs()).key

    def moved(signals: Signals) -> Signals:
        rows = signals[key]
        flat = [number(row) for row in rows.reshape(-1, rows.shape[-1]).tolist()]
        values = np.array(flat).reshape(*rows.shape[:-1], 1)
        return Signals.of(dict.fromkeys(SIGNAL_KINDS, values))

    parts = ("target", "reference", "population", "population_reference")
    return lambda seen: base(dataclasses.replace(seen, **{part: moved(getattr(seen, part)) for part in parts}))


def robustness(key: str) -> Slow:
    return lambda seen: np.array([sum(row) / len(row) for row in seen.target[key].tolist()])


def on_losses(base: Slow, key: str) -> Slow:
    """``base`` on a reading of losses by query."""

    def moved(signals: Signals) -> Signals:
        return Signals.of(dict.fromkeys(SIGNAL_KINDS, signals[key]))

    parts = ("target", "reference", "population", "population_reference")
    return lambda seen: base(dataclasses.replace(seen, **{part: moved(getattr(seen, part)) for part in parts}))


def max_posterior(seen: Observation) -> Array:
    return np.array([float(max(largest)) for largest in seen.target[Posteriors(3).key]])


def reveal(base: Slow) -> Slow:
    """``base`` on answers and signals that stand side by side: the first kind under either copy, then the second."""

    def moved(signals: Signals) -> Signals:
        rows = signals[Revealed().key]
        copies = {kind: rows[..., [2 * i, 2 * i + 1]] for i, kind in enumerate(SIGNAL_KINDS)}
        return Signals.of({kind: np.concatenate([signals[kind], copies[kind]], axis=-1) for kind in SIGNAL_KINDS})

    parts = ("target", "reference", "population", "population_reference")
    return lambda seen: base(dataclasses.replace(seen, **{part: moved(getattr(seen, part)) for part in parts}))


def quantile_regression(seen: Observation) -> Array:
    expected = seen.target[Expectation().key].tolist()
    margins = seen.target.margin.tolist()
    return np.array([(sum(of) / len(of) - at) / width for of, (at, width) in zip(margins, expected, strict=True)])


def inside(signals: Signals) -> Array:
    """What a white-box attack reads of each example: answers, logs of gradients' norms, outputs of regions."""
    rows = []
    for index in np.ndindex(signals.shape[:-1]):
        answers = [float(np.mean(signals[kind][index])) for kind in SIGNAL_KINDS]
        norms = [math.log(max(norm, 1e-45)) for norm in signals[Gradients().key][index].tolist()]
        rows.append(answers + norms + signals[RegionOutputs().key][index].tolist())
    return np.array(rows).reshape(*signals.shape[:-1], -1)


def population(seen: Observation) -> Array:
    def mean_logit(logits: Floats) -> float:
        return sum(logits.tolist()) / len(logits)

    strangers = [mean_logit(logits) for logits in seen.population.rescaled_logit]
    scores = []
    for logit in map(mean_logit, seen.target.rescaled_logit):
        beaten = sum(logit >= stranger for stranger in strangers)
        scores.append((beaten + (1 + logit / (1 + abs(logit))) / 2) / len(strangers))
    return np.array(scores)


def calibration(kind: str, score: Callable[[list[float]], float]) -> Slow:
    def slow(seen: Observation) -> Array:
        references = seen.reference[kind].tolist()
        scores = []
        for n, queries in enumerate(seen.target[kind].tolist()):
            outside = [score(one[n]) for one, is_in in zip(references, seen.in_reference, strict=True) if not is_in[n]]
            scores.append(score(queries) - sum(outside) / len(outside))
        return np.array(scores)

    return slow


def class_thresholds(kind: str, score: Callable[[list[float]], float]) -> Slow:
    def balanced_accuracy(trials: list[tuple[float, bool]], threshold: float) -> Fraction:
        members = [value for value, is_in in trials if is_in]
        non_members = [value for value, is_in in trials if not is_in]
        caught = Fraction(sum(value >= threshold for value in members), len(members))
        return (caught + Fraction(sum(value < threshold for value in non_members), len(non_members))) / 2

    def slow(seen: Observation) -> Array:
        trials: dict[int, list[tuple[float, bool]]] = defaultdict(list)
        for reference, in_reference in zip(seen.reference[kind].tolist(), seen.in_reference, strict=True):
            for queries, label, is_in in zip(reference, seen.labels.tolist(), in_reference.tolist(), strict=True):
                trials[label].append((score(queries), is_in))
        best = {
            label: max((balanced_accuracy(of_class, value), value) for value, _ in of_class)[1]
            for label, of_class in trials.items()
        }
        targets = zip(seen.target[kind].tolist(), seen.labels.tolist(), strict=True)
        return np.array([score(queries) - best[label] for queries, label in targets])

    return slow


def base(seen: Observation) -> Array:
    def one(n: int, q: int) -> float:
        inside, outside = sides(np.exp(-seen.reference.loss), seen, n, q)
        return -seen.target.loss[n, q] - math.log(np.mean(inside + outside))

    return mean_over_queries(seen, one)


def base_offline(scale: float) -> Slow:
    def slow(seen: Observation) -> Array:
        def one(n: int, q: int) -> float:
            _, outside = sides(np.exp(-seen.reference.loss), seen, n, q)
            return -seen.target.loss[n, q] - scale * math.log(np.mean(outside))

        return mean_over_queries(seen, one)

    return slow


def midpoint(seen: Observation) -> Array:
    def one(n: int, q: int) -> float:
        inside, outside = sides(seen.reference.rescaled_logit, seen, n, q)
        return seen.target.rescaled_logit[n, q] - (np.mean(inside) + np.mean(outside)) / 2

    return mean_over_queries(seen, one)


def share(seen: Observation) -> Array:
    def one(n: int, q: int) -> float:
        _, outside = sides(seen.reference.loss, seen, n, q)
        return sum(seen.target.loss[n, q] <= other for other in outside) / len(outside)

    return mean_over_queries(seen, one)


def place_among(value: float, others: list[float]) -> float:
    """Log-odds of the interpolated share of ``others`` that is below."""
    others, k = sorted(others), len(others)
    if value < others[0]:
        position = math.exp(value - others[0]) / (k + 1)
    elif value >= others[-1]:
        position = 1 - math.exp(others[-1] - value) / (k + 1)
    else:
        position = np.interp(value, others, np.arange(1, k + 1) / (k + 1))
    return math.log(position / (1 - position))


def interpolated_share(seen: Observation) -> Array:
    def one(n: int, q: int) -> float:
        _, outside = sides(seen.reference.rescaled_logit, seen, n, q)
        return place_among(seen.target.rescaled_logit[n, q], outside)

    return mean_over_queries(seen, one)


def per_sample(base: Slow) -> Slow:
    def slow(seen: Observation) -> Array:
        target, n_references = base(seen), len(seen.in_reference)
        known = []
        for row in range(n_references):
            others = [other for other in range(n_references) if other != row]
            as_target = Observation(
                seen.reference.map(lambda values, row=row: values[row]),
                seen.reference.map(lambda values, others=others: values[others]),
                seen.in_reference[others],
                seen.labels,
                seen.population_reference.map(lambda values, row=row: values[row]),
                seen.population_reference.map(lambda values, others=others: values[others]),
            )
            known.append(base(as_target))
        return np.array(
            [
                place_among(value, [known[r][n] for r in range(n_references) if not seen.in_reference[r, n]])
                for n, value in enumerate(target)
            ]
        )

    return slow


def one_query(signals: Signals, q: int) -> Signals:
    return dataclasses.replace(signals, **{kind: values[..., [q]] for kind, values in signals.arrays().items()})


def trimmed(base: Slow, drop_lowest: float, drop_highest: float) -> Slow:
    def slow(seen: Observation) -> Array:
        n_queries = seen.target.shape[1]
        parts = ("target", "reference", "population", "population_reference")
        by_query = []
        for q in range(n_queries):
            one = {part: one_query(getattr(seen, part), q) for part in parts}
            by_query.append(base(dataclasses.replace(seen, **one)))
        first, last = int(drop_lowest * n_queries), n_queries - int(drop_highest * n_queries)
        return np.array([np.mean(sorted(scores)[first:last]) for scores in zip(*by_query, strict=True)])

    return slow


def ensemble(rule: str, *attacks: Slow) -> Slow:
    """The smallest share of examples at which they together accuse x, found by raising it step by step."""

    def slow(seen: Observation) -> Array:
        all_scores = [attack(seen) for attack in attacks]
        n = len(seen.labels)
        shares = [
            [(sum(o < s for o in scores) + (sum(o == s for o in scores) + 1) / 2) / n for s in scores]
            for scores in all_scores
        ]
        needed = {"coverage": 1, "stability": len(attacks), "majority": len(attacks) // 2 + 1}[rule]
        together = []
        for example in range(n):
            own = [share[example] for share in shares]
            together.append(max(bar for bar in own if sum(share >= bar for share in own) >= needed))
        return np.array(together)

    return slow


def stds(seen: Observation, pooled: bool, side: int) -> Callable[[int, int], float]:
    """Standard deviation of one side (0 IN, 1 OUT) by example and query."""
    n_examples, n_queries = seen.target.shape
    values = [
        [sides(seen.reference.rescaled_logit, seen, n, q)[side] for q in range(n_queries)] for n in range(n_examples)
    ]
    if not pooled:
        return lambda n, q: float(np.std(values[n][q], ddof=1))

    def shared(q: int) -> float:
        residuals = [value - np.mean(of_example[q]) for of_example in values for value in of_example[q]]
        return math.sqrt(sum(residual**2 for residual in residuals) / (len(residuals) - n_examples))

    by_query = [shared(q) for q in range(n_queries)]
    return lambda n, q: by_query[q]


def lira(pooled: bool) -> Slow:
    def slow(seen: Observation) -> Array:
        std_in, std_out = stds(seen, pooled, 0), stds(seen, pooled, 1)

        def one(n: int, q: int) -> float:
            inside, outside = sides(seen.reference.rescaled_logit, seen, n, q)
            logit = seen.target.rescaled_logit[n, q]
            as_member = norm.logpdf(logit, np.mean(inside), std_in(n, q))
            return float(as_member - norm.logpdf(logit, np.mean(outside), std_out(n, q)))

        return mean_over_queries(seen, one)

    return slow


def lira_student(predictive: str) -> Slow:
    def prior(variances: list[float], counts: list[int]) -> tuple[float, float]:
        """Smyth 2004: degrees of freedom and scale, from log variances, each with its own degrees of freedom."""
        half = [(count - 1) / 2 for count in counts]
        logs = [math.log(v) - float(digamma(h)) + math.log(h) for v, h in zip(variances, half, strict=True)]
        excess = np.var(logs, ddof=1) - np.mean([float(polygamma(1, h)) for h in half])
        excess = max(excess, 2e-4)  # a prior worth 10 000 models is as good as one variance for all
        root = brentq(lambda x: polygamma(1, x) - excess, 1e-3, 1e6, xtol=1e-14, rtol=1e-14)
        return 2 * root, math.exp(np.mean(logs) + float(digamma(root)) - math.log(root))

    def slow(seen: Observation) -> Array:
        n_examples, n_queries = seen.target.shape
        logits = seen.reference.rescaled_logit
        priors = {}
        for q in range(n_queries):
            for side in (0, 1):
                groups = [sides(logits, seen, n, q)[side] for n in range(n_examples)]
                priors[q, side] = prior([float(np.var(g, ddof=1)) for g in groups], [len(g) for g in groups])

        def log_density(n: int, q: int, side: int) -> float:
            group, (freedom, scale) = sides(logits, seen, n, q)[side], priors[q, side]
            count, left = len(group), freedom + len(group) - 1
            variance = (freedom * scale + (count - 1) * np.var(group, ddof=1)) / left
            width = math.sqrt(variance * (1 + 1 / count))
            value = seen.target.rescaled_logit[n, q]
            if predictive == "normal":
                return float(norm.logpdf(value, np.mean(group), width))
            return float(student.logpdf(value, left, np.mean(group), width))

        return mean_over_queries(seen, lambda n, q: log_density(n, q, 0) - log_density(n, q, 1))

    return slow


def lira_offline(pooled: bool) -> Slow:
    def slow(seen: Observation) -> Array:
        std_out = stds(seen, pooled, 1)

        def one(n: int, q: int) -> float:
            _, outside = sides(seen.reference.rescaled_logit, seen, n, q)
            return (seen.target.rescaled_logit[n, q] - np.mean(outside)) / std_out(n, q)

        return mean_over_queries(seen, one)

    return slow


def probability_ratios(seen: Observation, online: bool, a: float) -> tuple[Array, Array]:
    """Geometric means over queries of P(. | target) / P(.), of the examples (N,) and of the population (Z,)."""

    def from_out(probabilities: list[float]) -> float:
        return ((1 + a) * float(np.mean(probabilities)) + 1 - a) / 2

    def of_example(n: int, q: int) -> float:
        inside, outside = sides(np.exp(-seen.reference.loss), seen, n, q)
        p = (np.mean(inside) + np.mean(outside)) / 2 if online else from_out(outside)
        return math.log(math.exp(-seen.target.loss[n, q]) / p)

    def of_stranger(z: int) -> Iterator[float]:
        for q in range(seen.population.shape[1]):
            p = from_out(np.exp(-seen.population_reference.loss[:, z, q]).tolist())
            yield math.log(math.exp(-seen.population.loss[z, q]) / p)

    strangers = [np.exp(np.mean(list(of_stranger(z)))) for z in range(len(seen.population.loss))]
    return np.exp(mean_over_queries(seen, of_example)), np.array(strangers)


def rmia_vote(gamma: float = 1.0, a: float = 0.3) -> Slow:
    def slow(seen: Observation) -> Array:
        def log_ratio(loss: float, outside: list[float]) -> float:
            return -loss - math.log(((1 + a) * float(np.mean(np.exp(-np.array(outside)))) + 1 - a) / 2)

        queries = range(seen.target.shape[1])
        scores = []
        for n in range(len(seen.labels)):
            mine = [log_ratio(seen.target.loss[n, q], sides(seen.reference.loss, seen, n, q)[1]) for q in queries]
            won = 0
            for z in range(len(seen.population.loss)):
                theirs = [
                    log_ratio(seen.population.loss[z, q], seen.population_reference.loss[:, z, q]) for q in queries
                ]
                votes = sum(x - other >= math.log(gamma) for x, other in zip(mine, theirs, strict=True))
                won += votes > len(queries) / 2
            mean = sum(mine) / len(mine)
            scores.append((won + (1 + mean / (1 + abs(mean))) / 2) / len(seen.population.loss))
        return np.array(scores)

    return slow


def rmia(online: bool, gamma: float = 1.0, a: float = 0.3) -> Slow:
    def slow(seen: Observation) -> Array:
        ratios, strangers = probability_ratios(seen, online, a)
        scores = []
        for ratio in ratios:
            beaten = sum(ratio / stranger >= gamma for stranger in strangers)
            log_ratio = math.log(ratio)
            scores.append((beaten + (1 + log_ratio / (1 + abs(log_ratio))) / 2) / len(strangers))
        return np.array(scores)

    return slow
