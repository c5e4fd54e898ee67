"""PPTP against its strongest simple competitors on CIFAR-10, every one attacked by an adaptive attacker.

Setting: ResNet with BatchNorm, 0.31 M parameters, a pool of 10 000 images of which every model trains on a
random half, 24 epochs of SGD, 8 models in complementary pairs, 250 mislabelled canaries in the pool. One
undefended training per model serves undefended, early stopping, every window and every mix. Accuracy is
also measured on models trained without canaries.

Resumable at any moment, and several processes may share the work:

    python benchmarks/pptp_cifar10.py train --share 0/2 &
    python benchmarks/pptp_cifar10.py train --share 1/2
    python benchmarks/pptp_cifar10.py report

``report`` measures what has been trained so far, one JSON per cell under ``results/pptp_cifar10/``, makes table,
figure and comparisons from those files alone, and says what is missing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from membrane.core.generators import numpy_generator, torch_generator
from membrane.core.settings import fingerprint, to_plain
from membrane.core.store import Store, read_json, write_bytes, write_json
from membrane.core.values import Signals
from membrane.data import Parquet, Splits, Task, make_task
from membrane.defenses import EarlyStopping, RelaxLoss, ShortSchedule, WeightAveraging
from membrane.metrics import CurvePoint, Interval, matched_accuracy_difference, matched_difference
from membrane.models import ResNet
from membrane.pptp import Budget, FrozenPlan, Plan, Probe, RegionWindow, Search, mix_response
from membrane.training import Bank, Defense, Recipe, train_fleet, train_model
from membrane.training.fleet import RELEASE_VERSION, release_key, training_key
from membrane.verbs.measure import measure
from membrane.verbs.observe import choose_attacks, references_each, score_bank

SEED = 0
N_MODELS = 8
POOL, HOLDOUT, TEST, CANARIES = 10_000, 2_000, 5_000, 250
CLEAN_MODELS = 2  # trained without canaries, for accuracy alone
CLEAN = ("undefended", "PPTP", "whole-network window")  # methods that those are measured under
MAX_CANDIDATES = 27  # plans measured for each model besides those of locating
BUDGETS = (-0.01, 0.0, 0.01, 0.02, 0.04)
RESAMPLES = 300
LATE = ("stage3", "stage4")
ATTACKED_BY = ("loss", "reference", "lira_offline", "lira", "midpoint", "rmia_offline", "rmia")


@dataclass(frozen=True)
class Cell:
    """One point of a curve: a method at one strength.

    Args:
        method: Points of one method are compared as one curve.
        strength: What was varied, in words.
        defense: Applied to every model alike; None if each model has its own plan.
        budget: Of a plan chosen by each model for itself.
    """

    method: str
    strength: str
    defense: Defense | None
    budget: float | None = None


def load_task(path: Path, canaries: int) -> Task:
    """Pool, holdout, test and membership; the same for every defense."""
    train, test = Parquet(str(path)).load()
    splits = Splits(train, test[:TEST])
    return make_task(splits, n_models=N_MODELS, pool=POOL, holdout=HOLDOUT, canaries=canaries, seed=SEED)


def recipe(*, augment: bool, defense: Defense | None = None) -> Recipe:
    """The setting: 24 epochs, SGD 0.1, cosine, bfloat16 autocast; every epoch's sum is kept."""
    return Recipe(
        model=ResNet(), epochs=24, augment=augment, keep=None, defense=defense or Defense(), precision="bfloat16"
    )


# (augmentation, canaries in the pool, training-time defense, models): each is trained once, most needed first
TRAININGS: list[tuple[bool, int, Defense, int]] = [
    (False, CANARIES, Defense(), N_MODELS),
    (False, CANARIES, ShortSchedule(7), N_MODELS),
    (False, CANARIES, ShortSchedule(5), N_MODELS),
    (False, CANARIES, ShortSchedule(10), N_MODELS),
    (False, CANARIES, RelaxLoss(0.5), N_MODELS),
    (False, CANARIES, RelaxLoss(1.0), N_MODELS),
    (False, CANARIES, RelaxLoss(0.25), N_MODELS),
    (False, 0, Defense(), CLEAN_MODELS),
    (True, CANARIES, Defense(), N_MODELS),
    (True, CANARIES, ShortSchedule(16), N_MODELS),
    (True, CANARIES, ShortSchedule(12), N_MODELS),
    (True, 0, Defense(), CLEAN_MODELS),
    (True, CANARIES, RelaxLoss(0.5), N_MODELS),
    (True, CANARIES, RelaxLoss(1.0), N_MODELS),
]


def cells(*, augment: bool) -> Iterator[Cell]:
    """Every point of every curve in one setting, the most telling first."""
    stops = (8, 14, 20) if augment else (3, 4, 5, 6, 8)
    late = ((6, 12), (8, 14), (10, 16), (12, 19), (12, 23)) if augment else ((1, 3), (2, 4), (2, 5), (3, 6), (3, 8))
    wide = (*late, (16, 23)) if augment else (*late, (4, 9), (6, 12))
    whole = "whole-network window"
    yield Cell("undefended", "", Defense())
    yield from (Cell(whole, f"epochs {a}-{b}", WeightAveraging(a, b)) for a, b in wide)
    if not augment:
        ends = f"{whole}, epoch ends"
        yield from (Cell(ends, f"epochs {a}-{b}", WeightAveraging(a, b, of="epochs")) for a, b in late)
    yield from (Cell("PPTP", f"drop {budget:g}", None, budget) for budget in BUDGETS)
    yield from (Cell("late window", f"epochs {a}-{b}", RegionWindow(LATE, a, b)) for a, b in late)
    yield from (Cell("late window with head", f"epochs {a}-{b}", RegionWindow((*LATE, "head"), a, b)) for a, b in late)
    yield from (Cell("early stopping", f"epoch {e}", EarlyStopping(e)) for e in stops)
    controls: tuple[tuple[Literal["inverse", "random"], str], ...] = (
        ("inverse", "inverse window"),
        ("random", "random channels"),
    )
    for where, name in controls:
        for first, last in late[1:4]:
            yield Cell(name, f"epochs {first}-{last}", RegionWindow(LATE, first, last, where=where))
    yield from (
        Cell(defense.name.replace("_", " "), f"{defense.strength} {getattr(defense, defense.strength or '')}", defense)
        for augmented, canaries, defense, _ in TRAININGS
        if augmented == augment and canaries and defense.strength
    )
    if not augment:
        yield from (Cell("PPTP, plan of model 0", f"drop {budget:g}", None, budget) for budget in BUDGETS)
    yield Cell("undefended, recalibrated", "", RegionWindow((), *late[0], keep=1.0))


def train(data: Path, store: Store, share: int, shares: int, only: Sequence[str], *, augment: bool) -> None:
    """This process's share of one setting: every training, then every edit of one; finished ones are skipped."""
    tasks = {canaries: load_task(data, canaries) for canaries in (CANARIES, 0)}
    trainings = [t for t in TRAININGS if t[0] == augment and (not only or t[2].name in only)]
    for _, canaries, defense, n_models in trainings:
        for row in range(share, n_models, shares):
            start = time.perf_counter()
            train_model(recipe(augment=augment, defense=defense), tasks[canaries], store, SEED, row)
            say(f"{defense} augment={augment} canaries={canaries} row {row}: {time.perf_counter() - start:.0f} s")
    for cell in cells(augment=augment):
        trained_as = (cell.defense or Defense()).trained_as()
        for _, canaries, defense, n_models in trainings:
            if defense.trained_as() == trained_as and (canaries or cell.method in CLEAN):
                start = time.perf_counter()
                bank_of(cell, tasks[canaries], store, augment=augment, rows=range(share, n_models, shares))
                say(f"{cell.method} {cell.strength}, canaries={canaries}: {time.perf_counter() - start:.0f} s")


def say(text: str) -> None:
    """Print with the time."""
    print(f"{time.strftime('%X')} {text}", flush=True)


def plans_key(task: Task, row: int, *, augment: bool) -> str:
    """Key of one model's choices: all that they depend on."""
    training = training_key(recipe(augment=augment), task, SEED, row)
    assert task.holdout is not None
    holdout = task.holdout.checksum()
    return fingerprint([training, holdout, RELEASE_VERSION, MAX_CANDIDATES, list(BUDGETS)])


def plans_of(task: Task, store: Store, row: int, *, augment: bool) -> dict[str, Any]:
    """One model's choice for every budget: one search serves them all. Stored, so that it is searched once."""
    base = recipe(augment=augment)
    key = plans_key(task, row, augment=augment)
    if not store.has("plans", key):
        trained = train_model(base, task, store, SEED, row)
        assert trained.holdout is not None
        generator = torch_generator(SEED, "probe", row)
        probe = Probe(trained.model, trained.trail, trained.members, trained.holdout, generator, trained.augment)
        controls = torch_generator(SEED, "controls", row) if row == 0 else None
        risk_map, measured = mix_response(probe, numpy_generator(SEED, "locate", row), controls=controls)
        search = Search(probe, measured, MAX_CANDIDATES)
        start = time.perf_counter()
        search.run()
        seconds = risk_map.seconds + time.perf_counter() - start
        choices = {
            f"{budget:g}": to_plain(search.choose(Budget(budget), numpy_generator(SEED, "choose", row)))
            for budget in BUDGETS
        }
        facts = {"risk_map": risk_map.plain(), "choices": choices, "seconds": seconds, "train_seconds": trained.seconds}
        store.save("plans", key, {}, facts)
        say(f"plans of row {row}, augment={augment}: {seconds:.0f} s, training took {trained.seconds:.0f} s")
    return store.facts("plans", key)


def bank_of(cell: Cell, task: Task, store: Store, *, augment: bool, rows: Sequence[int]) -> Bank:
    """Signals of all models under one cell's defense."""
    base = recipe(augment=augment)
    if cell.defense is not None:
        return train_fleet(base.with_defense(cell.defense), task, store, SEED, rows=rows)
    plans = []
    for row in rows:
        source = 0 if "model 0" in cell.method else row
        choice = plans_of(task, store, source, augment=augment)["choices"][f"{cell.budget:g}"]
        plans.append(Plan.from_plain(choice["plan"]))
    banks = [
        train_fleet(base.with_defense(FrozenPlan(plan)), task, store, SEED, rows=[row])
        for row, plan in zip(rows, plans, strict=True)
    ]
    return Bank(
        Signals.stack([bank.pool.map(lambda values: values[0]) for bank in banks]),
        Signals.stack([bank.test.map(lambda values: values[0]) for bank in banks]),
        tuple(bank.facts[0] for bank in banks),
    )


def is_released(cell: Cell, task: Task, store: Store, *, augment: bool, n_models: int) -> bool:
    """Whether every model's signals under a cell's defense are there already."""
    base = recipe(augment=augment)
    for row in range(n_models):
        defense = cell.defense
        if defense is None:
            key = plans_key(task, 0 if "model 0" in cell.method else row, augment=augment)
            if not store.has("plans", key):
                return False
            choice = store.facts("plans", key)["choices"].get(f"{cell.budget:g}")
            if choice is None:
                return False
            defense = FrozenPlan(Plan.from_plain(choice["plan"]))
        if not store.has("release", release_key(base.with_defense(defense), task, SEED, row)):
            return False
    return True


def measure_cell(cell: Cell, tasks: dict[int, Task], store: Store, *, augment: bool) -> dict[str, Any]:
    """One cell attacked and judged, JSON-ready: every rate with its n and interval, and the bootstrap replicates."""
    task = tasks[CANARIES]
    bank = bank_of(cell, task, store, augment=augment, rows=range(N_MODELS))
    n_each = references_each(N_MODELS)
    attacks = choose_attacks(ATTACKED_BY, n_each, n_each, TEST)
    scores = score_bank(bank, task.membership, task.pool.y.numpy(), attacks)
    measured = measure(bank, scores, task, SEED, RESAMPLES)
    plain = measured.plain(task)
    slices = {}
    for name, part in plain["slices"].items():
        found = {attack: {"auc": one["auc"], "tpr": one["tpr"]} for attack, one in part["attacks"].items()}
        replicates = measured.auc_replicates(part["strongest"], name)
        slices[name] = part | {"attacks": found, "replicates": rounded(replicates)}
    clean = None
    if is_released(cell, tasks[0], store, augment=augment, n_models=CLEAN_MODELS):
        clean_bank = bank_of(cell, tasks[0], store, augment=augment, rows=range(CLEAN_MODELS))
        clean = float(clean_bank.test.correct.mean())
    return {
        "cell": to_plain(cell),
        "setting": setting(augment=augment),
        "accuracy": plain["accuracy"] | {"replicates": rounded(measured.accuracy_replicates)},
        "accuracy_without_canaries": clean,
        "slices": slices,
    }


def rounded(replicates: npt.NDArray[np.float64]) -> list[float]:
    """Short enough to be kept beside every cell."""
    return [round(float(value), 5) for value in replicates]


def setting(*, augment: bool) -> dict[str, Any]:
    """All that cells must have in common to be compared."""
    return {
        "recipe": to_plain(recipe(augment=augment)),
        "task": {"pool": POOL, "holdout": HOLDOUT, "test": TEST, "canaries": CANARIES, "models": N_MODELS},
        "seed": SEED,
        "resamples": RESAMPLES,
        "attacks": list(ATTACKED_BY),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def file_of(cell: Cell, folder: Path) -> Path:
    """Where a cell's JSON lies."""
    return folder / (re.sub(r"[^a-z0-9.-]+", "_", f"{cell.method} {cell.strength}".lower()).strip("_") + ".json")


def measure_cells(data: Path, store: Store, folder: Path, *, augment: bool) -> None:
    """Measure every cell whose releases are all there; cells measured before in the same setting stay as they are."""
    tasks = {canaries: load_task(data, canaries) for canaries in (CANARIES, 0)}
    for cell in cells(augment=augment):
        path = file_of(cell, folder)
        if path.exists() and read_json(path)["setting"] == json.loads(json.dumps(setting(augment=augment))):
            continue
        if is_released(cell, tasks[CANARIES], store, augment=augment, n_models=N_MODELS):
            write_json(path, measure_cell(cell, tasks, store, augment=augment))
            say(f"measured {cell.method} {cell.strength}")
    if all(store.has("plans", plans_key(tasks[CANARIES], row, augment=augment)) for row in range(N_MODELS)):
        found = [plans_of(tasks[CANARIES], store, row, augment=augment) for row in range(N_MODELS)]
        ratio = 1 + sum(one["seconds"] for one in found) / sum(one["train_seconds"] for one in found)
        content = {
            "risk_map": found[0]["risk_map"],
            "choices": {str(row): one["choices"] for row, one in enumerate(found)},
            "cost": {"ratio_to_undefended_training": ratio, "candidates": MAX_CANDIDATES},
        }
        write_json(folder / "plans.json", json.loads(json.dumps(content)))


def curve_point(row: dict[str, Any], part: str = "population") -> CurvePoint:
    """Test accuracy against the AUC of the strongest attack on a slice."""
    found = row["slices"][part]
    return CurvePoint(
        f"{row['cell']['method']} {row['cell']['strength']}",
        row["cell"]["budget"] or 0.0,
        row["accuracy"]["test"]["value"],
        found["attacks"][found["strongest"]]["auc"]["value"],
        np.array(row["accuracy"]["replicates"]),
        np.array(found["replicates"]),
    )


def curves_of(rows: Sequence[dict[str, Any]], part: str) -> dict[str, list[CurvePoint]]:
    """Points by method."""
    curves: dict[str, list[CurvePoint]] = {}
    for row in rows:
        curves.setdefault(row["cell"]["method"], []).append(curve_point(row, part))
    return curves


def comparisons(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """PPTP against every other method: leakage at matched accuracy, accuracy at matched leakage."""
    found = []
    for part in ("population", "canaries"):
        curves = curves_of(rows, part)
        for ours in (name for name in curves if name.startswith("PPTP")):
            reach = max(point.accuracy for point in curves[ours])
            for theirs in (name for name in curves if not name.startswith("PPTP")):
                for other in curves[theirs]:
                    at = min(other.accuracy, reach)
                    leak = matched_difference(curves[ours], curves[theirs], at, n_models=N_MODELS // 2)
                    gain = matched_accuracy_difference(
                        curves[ours], curves[theirs], other.leakage, n_models=N_MODELS // 2
                    )
                    found.append(
                        {
                            "ours": ours,
                            "theirs": other.label,
                            "slice": part,
                            "accuracy": at,
                            "less_auc_at_this_accuracy": plain_interval(leak),
                            "leakage": other.leakage,
                            "more_accuracy_at_this_leakage": plain_interval(gain),
                        }
                    )
    return found


def plain_interval(interval: Interval) -> dict[str, Any]:
    """JSON has no infinity and no NaN: they become null, and the note says why."""
    plain = dataclasses.asdict(interval)
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in plain.items()}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown table."""
    names = ["method", "strength", "test acc", "without canaries", "train acc", "strongest attack"]
    names += ["population AUC", "TPR@1 %", "canary AUC", "canary TPR@1 %"]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        population, canaries = row["slices"]["population"], row["slices"]["canaries"]
        best, worst = (part["attacks"][part["strongest"]] for part in (population, canaries))
        clean = row["accuracy_without_canaries"]
        cells_ = [
            row["cell"]["method"],
            row["cell"]["strength"],
            spread(row["accuracy"]["test"]),
            "" if clean is None else f"{clean:.3f}",
            f"{row['accuracy']['train']['value']:.3f}",
            population["strongest"],
            spread(best["auc"]),
            spread(next(t for t in best["tpr"] if t["fpr"] == 0.01)),
            spread(worst["auc"]),
            spread(max((t for a in canaries["attacks"].values() for t in a["tpr"] if t["fpr"] == 0.01), key=caught)),
        ]
        lines.append("| " + " | ".join(cells_) + " |")
    return "\n".join(lines)


def caught(rate: dict[str, Any]) -> float:
    """Value of a rate, -1 where it was refused."""
    return float(rate.get("value", -1.0))


def spread(value: dict[str, Any]) -> str:
    """Value with its interval."""
    return f"{value['value']:.3f} ({value['low']:.3f}–{value['high']:.3f})" if "value" in value else "not resolvable"


def figure(rows: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    """Accuracy against leakage, a curve for each method."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    fig, axes = plt.subplots(figsize=(9, 6), layout="constrained")
    for i, (method, curve) in enumerate(curves_of(rows, "population").items()):
        ordered = sorted(curve, key=lambda point: point.leakage)
        colour = plt.get_cmap("tab20")(2 * i % 20 + (2 * i // 20))
        width, size = (2.5, 7) if method == "PPTP" else (1.0, 4)
        x, y = [p.leakage for p in ordered], [p.accuracy for p in ordered]
        axes.plot(x, y, "o-", color=colour, label=method, lw=width, ms=size)
    axes.set(xlabel="AUC of the strongest attack, population (0.5 is guessing)", ylabel="test accuracy", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    fig.savefig(path, dpi=150)
    plt.close(fig)


def report(out: Path, *, augment: bool) -> None:
    """Table, figure and comparisons, made from the cells' JSON alone."""
    name = "augmented" if augment else "plain"
    folder = out / name
    wanted = list(cells(augment=augment))
    rows = [read_json(path) for path in (file_of(cell, folder) for cell in wanted) if path.exists()]
    missing = [f"{cell.method} {cell.strength}" for cell in wanted if not file_of(cell, folder).exists()]
    if not rows:
        return say(f"no cell of the setting {name} has been measured yet")
    if any(row["setting"] != rows[0]["setting"] for row in rows):
        raise SystemExit(f"{folder} holds cells of different settings; delete those of the older one.")
    summary = {"setting": rows[0]["setting"], "comparisons": comparisons(rows), "missing": missing}
    write_json(out / f"{name}.json", json.loads(json.dumps(summary)))
    write_bytes(out / f"{name}.md", (table(rows) + "\n").encode())
    figure(rows, out / f"{name}.png", f"CIFAR-10, small ResNet, {'flip + crop' if augment else 'no augmentation'}")
    return say(f"wrote {out / name}.json; missing: {', '.join(missing) or 'nothing'}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "report", "all"], nargs="?", default="all")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10.parquet"))
    parser.add_argument("--store", type=Path, default=Path("runs/pptp_cifar10"))
    parser.add_argument("--out", type=Path, default=Path("results/pptp_cifar10"))
    parser.add_argument("--share", default="0/1", help="k/n: train only this process's share of the models")
    parser.add_argument("--setting", choices=["plain", "augmented", "both"], default="both")
    parser.add_argument("--only", nargs="*", default=(), help="train only under these training-time defenses")
    parser.add_argument("--threads", type=int, default=1, help="part of the store's keys")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    store = Store(arguments.store)
    share, shares = map(int, arguments.share.split("/"))
    for name, augment in (("plain", False), ("augmented", True)):
        if arguments.setting in (name, "both"):
            if arguments.what in ("train", "all"):
                train(arguments.data, store, share, shares, arguments.only, augment=augment)
            if arguments.what in ("report", "all"):
                measure_cells(arguments.data, store, arguments.out / name, augment=augment)
                report(arguments.out, augment=augment)


if __name__ == "__main__":
    main()
