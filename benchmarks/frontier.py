"""Defenses against one another on one setting, every one attacked by an adaptive attacker.

A setting is data, a network and a recipe; the scripts beside this file hold theirs. Undefended, early stopping, every
window and every mix share one training per model; accuracy is also measured on models trained without canaries.

Resumable at any moment, and several processes may share the work:

    python benchmarks/pptp_cifar10.py train --share 0/2 &
    python benchmarks/pptp_cifar10.py train --share 1/2
    python benchmarks/pptp_cifar10.py report

``report`` measures what has been trained so far, one JSON per cell under ``results/``, makes table, figure and
comparisons from those files alone, and says what is missing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from membrane.core.files import write_bytes
from membrane.core.generators import numpy_generator, torch_generator
from membrane.core.settings import fingerprint, to_plain
from membrane.core.store import Store, read_json, write_json
from membrane.core.values import Signals
from membrane.data import Splits, Task, make_task
from membrane.data.membership import references_each
from membrane.defenses import EarlyStopping, WeightAveraging
from membrane.metrics import CurvePoint, Interval, matched_accuracy_difference, matched_difference
from membrane.pptp import Budget, FrozenPlan, Plan, Probe, RegionWindow, Search, mix_response
from membrane.training import Bank, Defense, Recipe, train_fleet, train_model
from membrane.training.keys import RELEASE_VERSION, release_key, training_key
from membrane.verbs.informed import informed_scores
from membrane.verbs.measure import MEASURE_VERSION, measure
from membrane.verbs.observe import choose_attacks, score_bank

SEED = 0
CLEAN = ("undefended", "PPTP", "whole-network window")  # methods that models without canaries are measured under
ATTACKED_BY = ("loss", "reference", "lira_offline", "lira", "midpoint", "rmia_offline", "rmia")

Window = tuple[int, int]


@dataclass(frozen=True)
class Setting:
    """Data, network and recipe that methods are compared on.

    Args:
        name: Of the folder with the results.
        title: Of the figure.
        recipe: Of the undefended models.
        load: Train and test split from the data file.
        late: Regions that the fixed windows move, as the network's partition names them.
        windows: Epochs, first and last, that they are moved to, and the whole network too.
        wide: Further windows for the whole network.
        trainings: Training-time defenses, most needed first.
        stops: Epochs of early stopping.
        pool: Examples of which every model trains on a random half.
        holdout: Examples that PPTP chooses on.
        test: Examples for accuracy, which are the attackers' population too.
        canaries: Mislabelled ones in the pool.
        n_models: In complementary pairs.
        clean_models: Trained without canaries, for accuracy alone.
        candidates: Plans measured for each model besides those of locating.
        budgets: Accuracy that PPTP may lose, fractions.
        resamples: Of the bootstrap.
        refits: Refits on out-of-fold targets by the name of their curve, with what is varied in words.
        epoch_ends: Whether windows of the epochs' ends are measured beside those of every update.
        with_head: Whether the late windows are also measured with the head.
        pilot: Whether the plans of model 0 are also applied to all models.
        attacks: That every cell is attacked by.
        canary_kind: Of the canaries in the pool.
        compared: Beginning of the names of the methods that all others are compared with.
        data: File that it loads, if not that of the script.
    """

    name: str
    title: str
    recipe: Recipe
    load: Callable[[Path], Splits]
    late: tuple[str, ...]
    windows: tuple[Window, ...]
    wide: tuple[Window, ...]
    trainings: tuple[Defense, ...]
    stops: tuple[int, ...]
    pool: int = 10_000
    holdout: int = 2_000
    test: int = 5_000
    canaries: int = 250
    n_models: int = 8
    clean_models: int = 2
    candidates: int = 27
    budgets: tuple[float, ...] = (-0.01, 0.0, 0.01, 0.02, 0.04)
    resamples: int = 300
    refits: tuple[tuple[str, str, Defense], ...] = ()
    epoch_ends: bool = False
    with_head: bool = False
    pilot: bool = False
    attacks: tuple[str, ...] = ATTACKED_BY
    canary_kind: str = "mislabelled"
    compared: str = "PPTP"
    data: Path | None = None

    def task(self, data: Path, canaries: int) -> Task:
        """Pool, holdout, test and membership; the same for every defense."""
        splits = self.load(data)
        splits = Splits(splits.train, splits.test[: self.test])
        sizes = {"pool": self.pool, "holdout": self.holdout, "canaries": canaries}
        return make_task(splits, n_models=self.n_models, seed=SEED, canary_kind=self.canary_kind, **sizes)

    def plain(self) -> dict[str, Any]:
        """All that cells must have in common to be compared."""
        sizes = {"pool": self.pool, "holdout": self.holdout, "test": self.test, "canaries": self.canaries}
        kind = {} if self.canary_kind == "mislabelled" else {"canary_kind": self.canary_kind}
        return kind | {
            "recipe": self.recipe.training_settings(),
            "task": sizes | {"models": self.n_models},
            "seed": SEED,
            "resamples": self.resamples,
            "attacks": list(self.attacks),
            "release_version": RELEASE_VERSION,
            "measure_version": MEASURE_VERSION,
            "torch": torch.__version__,
            "machine": platform.machine(),
        }


@dataclass(frozen=True)
class Cell:
    """One point of a curve: a method at one strength.

    Args:
        method: Points of one method are compared as one curve.
        strength: What was varied, in words.
        defense: Applied to every model alike; None if each model has its own plan.
        budget: Of a plan chosen by each model for itself.
        known: Whether attackers give the target's plan to their references, which chose other ones.
    """

    method: str
    strength: str
    defense: Defense | None
    budget: float | None = None
    known: bool = False


def cells(on: Setting) -> Iterator[Cell]:
    """Every point of every curve in one setting, the most telling first."""
    whole = "whole-network window"
    yield Cell("undefended", "", Defense())
    yield from (Cell(whole, f"epochs {a}-{b}", WeightAveraging(a, b)) for a, b in (*on.windows, *on.wide))
    if on.epoch_ends:
        ends = f"{whole}, epoch ends"
        yield from (Cell(ends, f"epochs {a}-{b}", WeightAveraging(a, b, of="epochs")) for a, b in on.windows)
    yield from (Cell("PPTP", f"drop {budget:g}", None, budget) for budget in on.budgets)
    yield from (Cell("PPTP, plan known", f"drop {budget:g}", None, budget, known=True) for budget in on.budgets)
    yield from (Cell("late window", f"epochs {a}-{b}", RegionWindow(on.late, a, b)) for a, b in on.windows)
    if on.with_head:
        late = (*on.late, "head")
        yield from (Cell("late window with head", f"epochs {a}-{b}", RegionWindow(late, a, b)) for a, b in on.windows)
    yield from (Cell("early stopping", f"epoch {e}", EarlyStopping(e)) for e in on.stops)
    controls: tuple[tuple[Literal["inverse", "random"], str], ...] = (
        ("inverse", "inverse window"),
        ("random", "random channels"),
    )
    for where, name in controls:
        for first, last in on.windows[1:4]:
            yield Cell(name, f"epochs {first}-{last}", RegionWindow(on.late, first, last, where=where))
    for defense in on.trainings:
        if defense != Defense():
            strength = f"{defense.strength} {getattr(defense, defense.strength)}" if defense.strength else ""
            yield Cell(defense.name.replace("_", " "), strength, defense)
    yield from (Cell(name, strength, defense) for name, strength, defense in on.refits)
    if on.pilot:
        yield from (Cell("PPTP, plan of model 0", f"drop {budget:g}", None, budget) for budget in on.budgets)
    if on.windows:
        yield Cell("undefended, recalibrated", "", RegionWindow((), *on.windows[0], keep=1.0))


def train(data: Path, store: Store, share: int, shares: int, only: Sequence[str], on: Setting) -> None:
    """This process's share of one setting: every training, then every edit of one; finished ones are skipped."""
    tasks = {canaries: on.task(data, canaries) for canaries in (on.canaries, 0)}
    wanted = [(on.canaries, defense, on.n_models) for defense in on.trainings if not only or defense.name in only]
    if not only or "undefended" in only:
        wanted.insert(1, (0, Defense(), on.clean_models))
    for canaries, defense, n_models in wanted:
        for row in range(share, n_models, shares):
            start = time.perf_counter()
            train_model(on.recipe.with_defense(defense), tasks[canaries], store, SEED, row)
            say(f"{on.name}: {defense}, canaries={canaries}, row {row}: {time.perf_counter() - start:.0f} s")
    for cell in sorted(cells(on), key=lambda cell: cell.known):  # by then other processes have chosen their plans
        trained_as = (cell.defense or Defense()).trained_as()
        for canaries, defense, n_models in wanted:
            if defense.trained_as() == trained_as and (canaries or cell.method in CLEAN):
                start = time.perf_counter()
                rows = range(share, n_models, shares)
                if cell.known:
                    for plan in dict.fromkeys(plans_for(cell, tasks[canaries], store, on)):
                        train_fleet(on.recipe.with_defense(plan), tasks[canaries], store, SEED, rows=rows)
                else:
                    bank_of(cell, tasks[canaries], store, on, rows)
                took = time.perf_counter() - start
                say(f"{on.name}: {cell.method} {cell.strength}, canaries={canaries}: {took:.0f} s")


def say(text: str) -> None:
    """Print with the time."""
    print(f"{time.strftime('%X')} {text}", flush=True)


def plans_key(task: Task, row: int, on: Setting) -> str:
    """Key of one model's choices: all that they depend on."""
    training = training_key(on.recipe, task, SEED, row)
    assert task.holdout is not None
    holdout = task.holdout.checksum()
    return fingerprint([training, holdout, RELEASE_VERSION, on.candidates, list(on.budgets)])


def plans_of(task: Task, store: Store, row: int, on: Setting) -> dict[str, Any]:
    """One model's choice for every budget: one search serves them all. Stored, so that it is searched once."""
    key = plans_key(task, row, on)
    if not store.has("plans", key):
        trained = train_model(on.recipe, task, store, SEED, row)
        assert trained.holdout is not None
        generator = torch_generator(SEED, "probe", row)
        probe = Probe(trained.model, trained.trail, trained.members, trained.holdout, generator, trained.augment)
        controls = torch_generator(SEED, "controls", row) if row == 0 else None
        risk_map, measured = mix_response(probe, numpy_generator(SEED, "locate", row), controls=controls)
        search = Search(probe, measured, on.candidates)
        start = time.perf_counter()
        search.run()
        seconds = risk_map.seconds + time.perf_counter() - start
        choices = {
            f"{budget:g}": to_plain(search.choose(Budget(budget), numpy_generator(SEED, "choose", row)))
            for budget in on.budgets
        }
        facts = {"risk_map": risk_map.plain(), "choices": choices, "seconds": seconds, "train_seconds": trained.seconds}
        store.save("plans", key, {}, facts)
        say(f"{on.name}: plans of row {row}: {seconds:.0f} s, training took {trained.seconds:.0f} s")
    return store.facts("plans", key)


def bank_of(cell: Cell, task: Task, store: Store, on: Setting, rows: Sequence[int]) -> Bank:
    """Signals of all models under one cell's defense."""
    if cell.defense is not None:
        return train_fleet(on.recipe.with_defense(cell.defense), task, store, SEED, rows=rows)
    plans = [plan_of(cell, task, store, on, row) for row in rows]
    banks = [
        train_fleet(on.recipe.with_defense(plan), task, store, SEED, rows=[row])
        for row, plan in zip(rows, plans, strict=True)
    ]
    return Bank(
        Signals.stack([bank.pool.map(lambda values: values[0]) for bank in banks]),
        Signals.stack([bank.test.map(lambda values: values[0]) for bank in banks]),
        tuple(bank.facts[0] for bank in banks),
    )


def plan_of(cell: Cell, task: Task, store: Store, on: Setting, row: int) -> FrozenPlan:
    """What a cell without a defense for all does to one model."""
    source = 0 if "model 0" in cell.method else row
    choice = plans_of(task, store, source, on)["choices"][f"{cell.budget:g}"]
    return FrozenPlan(Plan.from_plain(choice["plan"]))


def plans_for(cell: Cell, task: Task, store: Store, on: Setting) -> list[FrozenPlan]:
    """The same of all models."""
    return [plan_of(cell, task, store, on, row) for row in range(on.n_models)]


def is_released(cell: Cell, task: Task, store: Store, on: Setting, n_models: int) -> bool:
    """Whether every model's signals under a cell's defense are there already."""
    rows = range(n_models)
    if cell.defense is not None:
        pairs: list[tuple[int, Defense]] = [(row, cell.defense) for row in rows]
    elif not all(store.has("plans", plans_key(task, row, on)) for row in rows):
        return False
    else:
        plans = {row: plan_of(cell, task, store, on, row) for row in rows}
        pairs = [(row, plan) for plan in set(plans.values()) for row in rows] if cell.known else [*plans.items()]
    keys = (release_key(on.recipe.with_defense(defense), task, SEED, row) for row, defense in pairs)
    return all(store.has("release", key) for key in keys)


def measure_cell(cell: Cell, tasks: dict[int, Task], store: Store, on: Setting) -> dict[str, Any]:
    """One cell attacked and judged, JSON-ready: every rate with its n and interval, and the bootstrap replicates."""
    task = tasks[on.canaries]
    bank = bank_of(cell, task, store, on, rows=range(on.n_models))
    n_each = references_each(on.n_models)
    attacks = choose_attacks(on.attacks, n_each, n_each, len(task.test))
    if cell.known:
        scores = informed_scores(on.recipe, plans_for(cell, task, store, on), task, attacks, store, SEED)
    else:
        scores = score_bank(bank, task.membership, task.pool.y.numpy(), attacks)
    measured = measure(bank, scores, task, SEED, on.resamples)
    plain = measured.plain(task)
    slices = {}
    for name, part in plain["slices"].items():
        found = {attack: {"auc": one["auc"], "tpr": one["tpr"]} for attack, one in part["attacks"].items()}
        replicates = measured.auc_replicates(part["strongest"], name)
        slices[name] = part | {"attacks": found, "replicates": rounded(replicates)}
    clean = None
    if is_released(cell, tasks[0], store, on, on.clean_models):
        clean_bank = bank_of(cell, tasks[0], store, on, rows=range(on.clean_models))
        clean = float(clean_bank.test.correct.mean())
    return {
        "cell": to_plain(cell),
        "setting": on.plain(),
        "accuracy": plain["accuracy"] | {"replicates": rounded(measured.accuracy_replicates)},
        "accuracy_without_canaries": clean,
        "train_seconds": min(facts.get("train_seconds", 0.0) for facts in bank.facts),  # others' load only adds
        "slices": slices,
    }


def rounded(replicates: npt.NDArray[np.float64]) -> list[float]:
    """Short enough to be kept beside every cell."""
    return [round(float(value), 5) for value in replicates]


def file_of(cell: Cell, folder: Path) -> Path:
    """Where a cell's JSON lies."""
    return folder / (re.sub(r"[^a-z0-9.-]+", "_", f"{cell.method} {cell.strength}".lower()).strip("_") + ".json")


def measure_cells(data: Path, store: Store, folder: Path, on: Setting) -> None:
    """Measure every cell whose releases are all there; cells measured before in the same setting stay as they are."""
    tasks = {canaries: on.task(data, canaries) for canaries in (on.canaries, 0)}
    for cell in cells(on):
        path = file_of(cell, folder)
        if path.exists() and read_json(path)["setting"] == json.loads(json.dumps(on.plain())):
            continue
        if is_released(cell, tasks[on.canaries], store, on, on.n_models):
            write_json(path, measure_cell(cell, tasks, store, on))
            say(f"measured {cell.method} {cell.strength}")
    if on.budgets and all(store.has("plans", plans_key(tasks[on.canaries], row, on)) for row in range(on.n_models)):
        found = [plans_of(tasks[on.canaries], store, row, on) for row in range(on.n_models)]
        ratio = 1 + sum(one["seconds"] for one in found) / sum(one["train_seconds"] for one in found)
        content = {
            "risk_map": found[0]["risk_map"],
            "choices": {str(row): one["choices"] for row, one in enumerate(found)},
            "cost": {"ratio_to_undefended_training": ratio, "candidates": on.candidates},
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


def comparisons(rows: Sequence[dict[str, Any]], n_pairs: int, compared: str) -> list[dict[str, Any]]:
    """Methods so named against every other: leakage at matched accuracy, accuracy at matched leakage."""
    found = []
    for part in ("population", "canaries"):
        curves = curves_of(rows, part)
        for ours in (name for name in curves if name.startswith(compared)):
            reach = max(point.accuracy for point in curves[ours])
            for theirs in (name for name in curves if not name.startswith(compared)):
                for other in curves[theirs]:
                    at = min(other.accuracy, reach)
                    leak = matched_difference(curves[ours], curves[theirs], at, n_models=n_pairs)
                    gain = matched_accuracy_difference(curves[ours], curves[theirs], other.leakage, n_models=n_pairs)
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
    plain_seconds = rows[0].get("train_seconds")  # the first is undefended
    names += ["cost"] if plain_seconds else []
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
        if plain_seconds:
            cells_.append(f"{row['train_seconds'] / plain_seconds:.1f}")
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
        width, size = (2.5, 7) if method in ("PPTP", "PPTP refit") else (1.0, 4)
        x, y = [p.leakage for p in ordered], [p.accuracy for p in ordered]
        axes.plot(x, y, "o-", color=colour, label=method, lw=width, ms=size)
    axes.set(xlabel="AUC of the strongest attack, population (0.5 is guessing)", ylabel="test accuracy", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    fig.savefig(path, dpi=150)
    plt.close(fig)


def report(out: Path, on: Setting) -> None:
    """Table, figure and comparisons, made from the cells' JSON alone."""
    folder = out / on.name
    wanted = list(cells(on))
    rows = [read_json(path) for path in (file_of(cell, folder) for cell in wanted) if path.exists()]
    missing = [f"{cell.method} {cell.strength}" for cell in wanted if not file_of(cell, folder).exists()]
    if not rows:
        return say(f"no cell of the setting {on.name} has been measured yet")
    if any(row["setting"] != rows[0]["setting"] for row in rows):
        raise SystemExit(f"{folder} holds cells of different settings; delete those of the older one.")
    found = comparisons(rows, on.n_models // 2, on.compared)
    summary = {"setting": rows[0]["setting"], "comparisons": found, "missing": missing}
    write_json(out / f"{on.name}.json", json.loads(json.dumps(summary)))
    write_bytes(out / f"{on.name}.md", (table(rows) + "\n").encode())
    figure(rows, out / f"{on.name}.png", on.title)
    return say(f"wrote {out / on.name}.json; missing: {', '.join(missing) or 'nothing'}")


def main(description: str, settings: Sequence[Setting], data: Path, out: Path) -> None:
    """Command line of the scripts that hold the settings.

    Args:
        description: Of the script.
        settings: What it compares on.
        data: File that the settings load, if not said otherwise.
        out: Where results go, if not said otherwise.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "report", "all"], nargs="?", default="all")
    parser.add_argument("--data", type=Path, help=f"file to load (default: the setting's, or {data})")
    parser.add_argument("--store", type=Path, default=Path("runs") / out.name)
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--share", default="0/1", help="k/n: train only this process's share of the models")
    parser.add_argument("--setting", choices=[*(on.name for on in settings), "all"], default="all")
    parser.add_argument("--only", nargs="*", default=(), help="train only under these training-time defenses")
    parser.add_argument("--threads", type=int, default=1, help="part of the store's keys")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    store = Store(arguments.store)
    share, shares = map(int, arguments.share.split("/"))
    for on in settings:
        if arguments.setting in (on.name, "all"):
            file = arguments.data or on.data or data
            if arguments.what in ("train", "all"):
                train(file, store, share, shares, arguments.only, on)
            if arguments.what in ("report", "all"):
                measure_cells(file, store, arguments.out / on.name, on)
                report(arguments.out, on)
