"""Do the intervals cover what they say, and does a mechanism without leakage get an epsilon above 0 too often?

    python benchmarks/coverage.py [--runs 600] [--audits 2000] [--models 16] [--examples 400] [--only auc]

Line-ups have the structure of real ones: examples differ in how hard they are, in how much a model gives away about
them and in how noisy they are, models differ in how sure they are and in how much they leak, and every model is scored
by real attacks with all others but its partner as references.

    epsilon   audits of a mechanism with epsilon 0, by the rates of many trainings, by one training's guesses about
              single canaries, and by couples of canaries in a line-up: how often a bound above 0 comes out (bar: 5 %)
    permuted  line-ups whose membership was drawn anew after the models answered: coverage of 0.5 by the areas, and of
              their mean by the rates (bar: 93 to 97 % with 16 models or more)
    real      the same with what real models, trained on the embedded digits, answer; each run takes some of 64
    leaking   line-ups that leak, each of other models and other examples: coverage of the mean over all runs

Ends with status 1 if a bar is missed by more than its own Clopper-Pearson interval allows.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt

from membrane.attacks import ATTACKS, Lineup
from membrane.core.generators import numpy_generator
from membrane.core.store import Store
from membrane.core.values import SIGNAL_KINDS, Bools, Signals
from membrane.data import Digits, make_task
from membrane.metrics import (
    Interval,
    Rate,
    auc_estimate,
    audit_one_run,
    clopper_pearson,
    couples_bound,
    epsilon_bound,
    guess_membership,
    share_interval,
    tpr_estimate,
)
from membrane.models import MLP
from membrane.training import Recipe, train_fleet

Array = npt.NDArray[np.float64]
ATTACKED_BY = ("loss", "midpoint", "lira", "rmia")
FPR = 0.01
N_STRANGERS = 120
PARTS = ("epsilon", "permuted", "real", "leaking")


def membership(n_models: int, n: int, generator: np.random.Generator) -> Bools:
    """(R, N), complementary pairs."""
    first = np.argsort(generator.random((n_models // 2, n)), axis=1) < n // 2
    return np.stack([first, ~first], axis=1).reshape(n_models, n)


def answers(n_models: int, n: int, leak: float, generator: np.random.Generator) -> tuple[Bools, Signals, Signals]:
    """Membership, and what models say about ``n`` examples and about strangers."""
    member = membership(n_models, n, generator)
    seen = np.concatenate([member, np.zeros((n_models, N_STRANGERS), dtype=bool)], axis=1)
    size = seen.shape[1]
    hardness, noise = generator.normal(4, 3, size), np.exp(generator.normal(0, 0.4, size))
    given_away = leak * np.exp(generator.normal(0, 0.7, size))
    sureness, leakiness = generator.normal(0, 0.5, (n_models, 1)), np.exp(generator.normal(0, 0.15, (n_models, 1)))
    logit = hardness + sureness + leakiness * given_away * seen + noise * generator.normal(size=seen.shape)
    loss = np.logaddexp(0, -logit)
    kinds = {kind: (loss if kind == "loss" else logit).astype(np.float32)[..., None] for kind in SIGNAL_KINDS}
    signals = Signals(**kinds)
    return member, signals.map(lambda values: values[:, :n]), signals.map(lambda values: values[:, n:])


def scored(
    n_models: int, n: int, leak: float, permuted: bool, generator: np.random.Generator
) -> Iterator[tuple[str, Array, Bools]]:
    """Scores (R, N) of each attack with the membership that they are judged by."""
    member, pool, strangers = answers(n_models, n, leak, generator)
    if permuted:
        member = membership(n_models, n, generator)
    yield from attacked(Lineup(pool, member, np.zeros(n, np.int64), strangers), member)


def attacked(lineup: Lineup, member: Bools) -> Iterator[tuple[str, Array, Bools]]:
    """Scores of each attack, and the membership that came in."""
    for name in ATTACKED_BY:
        yield name, ATTACKS.make(name).against_all(lineup), member


def intervals(scores: Array, member: Bools) -> tuple[Interval, Interval]:
    """Of the area and of the rate."""
    return (
        share_interval(auc_estimate(scores, member)),
        share_interval(tpr_estimate(scores, member, FPR), int(member.sum())),
    )


def coverage(
    n_models: int, n: int, leak: float, permuted: bool, runs: int, generator: np.random.Generator
) -> dict[tuple[str, str], Rate]:
    """By attack and measure, how often the interval holds the truth: 0.5, or the mean of all runs."""
    return covered(lambda: scored(n_models, n, leak, permuted, generator), permuted, runs)


def covered(
    line_up: Callable[[], Iterator[tuple[str, Array, Bools]]], permuted: bool, runs: int
) -> dict[tuple[str, str], Rate]:
    """The same of any way to make a line-up."""
    found: dict[tuple[str, str], list[Interval]] = defaultdict(list)
    for _ in range(runs):
        for name, scores, member in line_up():
            for measure, interval in zip(("AUC", "TPR"), intervals(scores, member), strict=True):
                found[name, measure].append(interval)
    rates = {}
    for (name, measure), all_of_it in found.items():
        truth = 0.5 if permuted and measure == "AUC" else float(np.mean([one.value for one in all_of_it]))
        rates[name, measure] = clopper_pearson(sum(not one.excludes(truth) for one in all_of_it), runs)
    return rates


def empty_bounds(audits: int, generator: np.random.Generator) -> dict[str, Rate]:
    """How often audits of a mechanism with epsilon 0 report a bound above 0."""
    above: dict[str, int] = dict.fromkeys(("rates, 9 thresholds", "one run, 120 guesses", "couples, 4 attacks"), 0)
    for _ in range(audits):
        member, scores = generator.random(400) < 0.5, generator.normal(size=400)
        above["rates, 9 thresholds"] += epsilon_bound(scores, member, np.linspace(-2, 2, 9)).low > 0
        above["one run, 120 guesses"] += (
            audit_one_run(guess_membership(scores, 60, 60), member, delta=1e-5).epsilon_low > 0
        )
        lineup = list(scored(8, 120, 0.0, False, generator))
        bound = couples_bound({name: of_all[0] for name, of_all, _ in lineup}, lineup[0][2][0], delta=1e-5)
        above["couples, 4 attacks"] += bound is not None and bound.audit.epsilon_low > 0
    return {name: clopper_pearson(count, audits) for name, count in above.items()}


def of_real_models(n_models: int, runs: int, n_trained: int = 64) -> dict[tuple[str, str], Rate]:
    """The same where membership is permuted and ``n_trained`` real models answer, of which each run takes some."""
    splits = Digits().load()
    n = len(splits.train)
    task = make_task(splits, n_models=n_trained, pool=n, holdout=0, canaries=0, seed=0)
    recipe = Recipe(model=MLP(), epochs=20, batch_size=64)
    with tempfile.TemporaryDirectory() as folder:
        bank = train_fleet(recipe, task, Store(Path(folder)), seed=0)
    generator = numpy_generator(0, "real")

    def line_up() -> Iterator[tuple[str, Array, Bools]]:
        rows = generator.permutation(n_trained // 2)[: n_models // 2]
        both = np.stack([2 * rows, 2 * rows + 1], axis=1).ravel()
        member = membership(n_models, n, generator)
        taken = (part.map(lambda values: values[both]) for part in (bank.pool, bank.test))
        yield from attacked(Lineup(next(taken), member, task.pool.y.numpy(), next(taken)), member)

    return covered(line_up, True, runs)


def main() -> int:
    """Status for the shell."""
    parser = argparse.ArgumentParser(description="Coverage of intervals and bounds.")
    parser.add_argument("--runs", type=int, default=600)
    parser.add_argument("--audits", type=int, default=2000)
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--examples", type=int, default=400)
    parser.add_argument("--only", choices=PARTS)
    args = parser.parse_args()
    chosen = PARTS if args.only is None else (args.only,)
    missed = []
    if "epsilon" in chosen:
        for name, rate in empty_bounds(args.audits, numpy_generator(0, "epsilon")).items():
            missed += [name] * bool(rate.low > 0.05)
            print(f"epsilon above 0 without leakage, {name}: {told(rate)}")
    generator = numpy_generator(0, "coverage")
    ways = {
        "permuted": lambda: coverage(args.models, args.examples, 1.0, True, args.runs, generator),
        "real": lambda: of_real_models(args.models, args.runs),
        "leaking": lambda: coverage(args.models, args.examples, 2.0, False, args.runs, generator),
    }
    for part, way in ways.items():
        if part not in chosen:
            continue
        for (name, measure), rate in way().items():
            off = part != "leaking" and measure == "AUC" and (rate.low > 0.97 or rate.high < 0.93)
            missed += [f"{part} {name} {measure}"] * off
            print(f"{part}, {args.models} models, {name}, {measure}: {told(rate)}")
    print(f"missed: {', '.join(missed) or 'nothing'}")
    return int(bool(missed))


def told(rate: Rate) -> str:
    """A rate with its interval and n."""
    return f"{rate.value:.1%} [{rate.low:.1%} to {rate.high:.1%}], n = {rate.n}"


if __name__ == "__main__":
    sys.exit(main())
