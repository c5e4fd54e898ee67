"""How much more an attacker finds who trains the released model on: Location30, one table, nothing trained but copies.

    python benchmarks/reveal.py --data ../shared/data/location30.parquet --store runs/pptp_location30

Every model of the frontier on Location30 (``pptp_location30.py`` trains and stores them) is trained on by the test set,
half by half, or refitted from its last region on, and attacked on its answers and those of the copies. References were
treated alike. Where the plan of a defense is chosen by the model itself, that of model 0 is given to all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from frontier import SEED, cells, plans_of, say, spread
from pptp_location30 import PLAIN

from membrane.attacks import Attack, Lineup, LiRA, Midpoint, Region, Reveal
from membrane.core.store import Store
from membrane.data import Task
from membrane.pptp import FrozenPlan, Plan
from membrane.readings import distinct
from membrane.training import Defense, train_fleet
from membrane.verbs.measure import measure

CELLS = (
    "undefended",
    "late window epochs 4-8",
    "whole-network window epochs 4-8",
    "PPTP, plan of model 0 drop 0.02",
    "PPTP refit from epochs 4-8, 10 epochs",
)
ON, REFIT = {"epochs": 3, "lr": 0.001}, {"refit": (-1,), "epochs": 20, "lr": 0.003}


def attacks() -> dict[str, Attack]:
    """By the name of their row, the plain one first."""
    found: dict[str, Attack] = {}
    for base in (LiRA(), Midpoint()):
        found[f"{base.name}, answers"] = base
        found[f"{base.name}, output before the last region"] = Region(region=-2, base=base)
        found[f"{base.name}, answers and trained on"] = Reveal(**ON, base=base)
        found[f"{base.name}, answers and last region refitted"] = Reveal(**REFIT, base=base)
    return found


def defense_of(cell: str, task: Task, store: Store) -> Defense:
    """What every model goes through in a cell of the frontier, called by method and strength."""
    found = {f"{one.method} {one.strength}".strip(): one for one in cells(PLAIN)}[cell]
    if found.defense is not None:
        return found.defense
    return FrozenPlan(Plan.from_plain(plans_of(task, store, 0, PLAIN)["choices"][f"{found.budget:g}"]["plan"]))


def table(cell: str, task: Task, store: Store) -> str:
    """Rows of one cell: AUC on population and canaries by attack."""
    used = attacks()
    readings = distinct(reading for attack in used.values() for reading in attack.readings)
    recipe = PLAIN.recipe.with_defense(defense_of(cell, task, store))
    bank = train_fleet(recipe, task, store, SEED, readings=readings)
    line = Lineup(bank.pool, task.membership, task.pool.y.numpy(), bank.test)
    scores = {name: attack.against_all(line) for name, attack in used.items()}
    slices = measure(bank, scores, task, SEED).plain(task)["slices"]
    accuracy = float(np.mean(bank.test.correct))
    lines = [
        f"| {cell} | {accuracy:.3f} | {name} | "
        + " | ".join(spread(slices[part]["attacks"][name]["auc"]) for part in ("population", "canaries"))
        + " |"
        for name in used
    ]
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/location30.parquet"))
    parser.add_argument("--store", type=Path, default=Path("runs/pptp_location30"))
    parser.add_argument("--cells", nargs="+", default=CELLS, help="of the frontier, method and strength")
    parser.add_argument("--threads", type=int, default=1, help="part of the store's keys")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    task, store = PLAIN.task(arguments.data, PLAIN.canaries), Store(arguments.store)
    print("| release | test acc | attack | population AUC | canary AUC |\n|---|---|---|---|---|")
    for cell in arguments.cells:
        print(table(cell, task, store), flush=True)
    say("done")


if __name__ == "__main__":
    main()
