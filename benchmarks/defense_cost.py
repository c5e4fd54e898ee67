"""What each defense costs: seconds until a model can be released, and seconds of an answer, over the undefended one's.

    python benchmarks/defense_cost.py [--rounds 3] [--only selena dmp ...]

A small ResNet with GroupNorm (so that DP-SGD can train it) on 500 digits, 24 epochs, another 500 as holdout; every
defense of the catalogue at its default settings, but for what has no default that does anything. In every round each
defense is trained, finished and asked once, the undefended network among them; a ratio is that of one round, and the
median of the rounds' is reported. Seconds are CPU seconds of one thread, so that other work on the machine moves them
little. DP-SGD needs Opacus.

Writes timings to results/defense_cost/digits.json, and the ratios that `membrane list defenses` shows to
src/membrane/training/costs.json. With --only, the undefended network and the named ones are measured, and the named
ones replaced there: a new defense is added in a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from membrane.core.generators import derive_seed, torch_generator
from membrane.core.settings import to_plain
from membrane.data import Digits, Examples
from membrane.models import ResNet, logits_of
from membrane.pptp import DEFENSES
from membrane.training import Defense, Recipe, fit
from membrane.verbs.results import versions

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = PROJECT / "results" / "defense_cost" / "digits.json"
SHOWN = PROJECT / "src" / "membrane" / "training" / "costs.json"
N = 500  # members, and of the holdout
ASKED = 200  # test examples
WHERE = "500 digits, a ResNet of 20,000 weights, default settings"
RECIPE = Recipe(model=ResNet(widths=(8, 16, 32), blocks=(1, 1, 1), norm="group"), batch_size=50, lr=0.03, keep=None)
LATE = ["stage3", "head"]
SETTINGS: dict[str, dict[str, Any]] = {  # where the defaults do nothing, or there are none
    "gradient_routing": {"regions": LATE},
    "rewind_refit": {"regions": LATE},
    "frozen_plan": {"plan": {"stretches": [{"region": one, "first": 2, "last": 5} for one in LATE]}},
}
Times = dict[str, tuple[float, float]]  # by defense, CPU seconds of training and of an answer


def data() -> tuple[Examples, Examples, Examples]:
    """Members, holdout and what is asked."""
    splits = Digits(test=297).load()
    return splits.train[:N], splits.train[N : 2 * N], splits.test[:ASKED]


def defense_of(name: str) -> Defense:
    """As it is measured."""
    return DEFENSES.make({"name": name, **SETTINGS.get(name, {})})


def times(defense: Defense, seed: int) -> tuple[float, float]:
    """CPU seconds until the model can be released, and of answering ``ASKED`` examples."""
    members, holdout, asked = data()
    start = time.process_time()
    trained = fit(RECIPE.with_defense(defense), members, holdout, derive_seed(seed, defense.name))
    model = defense.release(defense.finish(trained, torch_generator(seed, defense.name)).model)
    training = time.process_time() - start
    start, n = time.process_time(), 0
    while n == 0 or time.process_time() - start < 0.2:
        logits_of(model, asked)
        n += 1
    return training, (time.process_time() - start) / n


def entries(rounds: Sequence[Times]) -> dict[str, Any]:
    """Settings, seconds and ratios of each defense."""
    found = {}
    for name in rounds[0]:
        parts = {}
        for i, part in enumerate(("training", "answering")):
            seconds, plain = ([round(one[which][i], 4) for one in rounds] for which in (name, Defense.name))
            ratio = statistics.median(ours / theirs for ours, theirs in zip(seconds, plain, strict=True))
            parts[part] = {"seconds": seconds, "undefended": plain, "ratio": round(ratio, 3)}
        found[name] = {"defense": to_plain(defense_of(name)), **parts}
    return found


def table(found: Mapping[str, Any]) -> str:
    """Markdown, the costliest training first."""
    lines = ["| defense | training, times | answer, times | training, CPU s |", "|---|---|---|---|"]
    for name, one in sorted(found.items(), key=lambda item: -item[1]["training"]["ratio"]):
        seconds = statistics.median(one["training"]["seconds"])
        lines.append(f"| {name} | {one['training']['ratio']:.2f} | {one['answering']['ratio']:.2f} | {seconds:.2f} |")
    return "\n".join(lines)


def write(found: Mapping[str, Any]) -> None:
    """The timings, and the ratios that are shown; of defenses that were not measured, those that lie there."""
    before = json.loads(RESULTS.read_text("utf-8"))["entries"] if RESULTS.exists() else {}
    found = {name: (before | found)[name] for name in DEFENSES if name in before or name in found}
    about = {"measured_on": WHERE, "recipe": to_plain(RECIPE), "versions": versions()}
    ratios = {name: {part: one[part]["ratio"] for part in ("training", "answering")} for name, one in found.items()}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({**about, "entries": found}, indent=1) + "\n")
    SHOWN.write_text(json.dumps({"measured_on": WHERE, "ratios": ratios}, indent=1) + "\n")


def main() -> None:
    """All rounds, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="DEFENSE", choices=list(DEFENSES))
    args = parser.parse_args()
    torch.set_num_threads(1)
    names = list(DEFENSES) if args.only is None else list(dict.fromkeys([Defense.name, *args.only]))
    times(Defense(), 0)  # what is loaded at first use
    rounds: list[Times] = []
    for i in range(args.rounds):
        rounds.append({})
        for name in names:
            rounds[-1][name] = times(defense_of(name), i)
            print(f"round {i}: {name} {rounds[-1][name][0]:.2f} s", flush=True)
    found = entries(rounds)
    print(table(found))
    write(found if args.only is None else {name: one for name, one in found.items() if name in args.only})


if __name__ == "__main__":
    main()
