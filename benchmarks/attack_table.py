"""Which attack finds how much: one fleet, many attacks, area and rates with their intervals.

    python benchmarks/attack_table.py digits
    python benchmarks/attack_table.py location30 --store FOLDER --data location30.parquet

digits: 8 networks that know half of 1 000 digits by heart, 50 of them under wrong labels. location30: the 16 undefended
networks of ``pptp_location30.py``; those in the store are not trained again. Readings go into the same store.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pptp_location30 import PLAIN

from membrane.attacks import ATTACKS, Attack
from membrane.core.store import Store
from membrane.data import Digits, Task, make_task
from membrane.models import MLP
from membrane.readings import distinct
from membrane.training import Bank, Recipe, train_fleet
from membrane.verbs.measure import measure
from membrane.verbs.observe import score_bank

SEED = 0
RESAMPLES = 200
SIGNALS = (
    *("loss", "confidence", "entropy", "modified_entropy", "correctness", "population", "class_thresholds"),
    *("calibration", "reference", "lira_offline", "lira", "midpoint", "rmia_offline", "rmia", "base"),
)
LEARNT: tuple[Mapping[str, Any], ...] = (
    {"name": "max_posterior"},
    {"name": "ml_leaks"},
    {"name": "ml_leaks", "read": "log_probabilities"},
    {"name": "shadow_classifier"},
    {"name": "shadow_classifier", "read": "log_probabilities"},
    {"name": "loss_trajectory"},
    {"name": "quantile_regression"},
    {"name": "quantile_regression", "by": "quantile"},
    {"name": "quantile_regression", "by": "boosting"},
    {"name": "gradient_norm"},
)


def digits() -> tuple[Recipe, Task]:
    """A narrow network without weight decay to speak of, and half of 1 000 digits for each."""
    task = make_task(Digits(test=297).load(), n_models=8, pool=1000, holdout=0, canaries=50, seed=SEED)
    return Recipe(MLP((64,)), epochs=60, batch_size=20, lr=0.1, keep=2), task


def location30(data: Path) -> tuple[Recipe, Task]:
    """As in the benchmark of that name, undefended."""
    return PLAIN.recipe, PLAIN.task(data, PLAIN.canaries)


def fleet(recipe: Recipe, task: Task, attacks: Sequence[Attack], store: Store) -> Bank:
    """Signals and readings of every model; says what each reading took."""
    start = time.perf_counter()
    train_fleet(recipe, task, store, SEED)
    print(f"models and signals: {time.perf_counter() - start:.0f} s", flush=True)
    readings = distinct(reading for attack in attacks for reading in attack.readings)
    for reading in readings:
        start = time.perf_counter()
        train_fleet(recipe, task, store, SEED, readings=[reading])
        print(f"{reading}: {(time.perf_counter() - start) / len(task.membership):.2f} s a model", flush=True)
    return train_fleet(recipe, task, store, SEED, readings=readings)


def table(bank: Bank, task: Task, attacks: Mapping[str, Attack]) -> None:
    """Print one row for each attack as it is scored."""
    print("| attack | AUC | TPR at 1 % FPR | AUC of canaries | scoring, CPU s |\n|---|---|---|---|---|")
    for label, attack in attacks.items():
        start = time.process_time()
        scores = score_bank(bank, task.membership, task.pool.y.numpy(), [attack])
        seconds = time.process_time() - start
        found = measure(bank, scores, task, SEED, RESAMPLES).plain(task)["slices"]
        population, canaries = (found[part]["attacks"][attack.name] for part in ("population", "canaries"))
        rate = next(one for one in population["tpr"] if one["fpr"] == 0.01)
        cells = (label, _shown(population["auc"]), _shown(rate), _shown(canaries["auc"]), f"{seconds:.1f}")
        print("| " + " | ".join(cells) + " |", flush=True)


def _shown(value: Mapping[str, Any]) -> str:
    if value.get("refused"):
        return "too few"
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def main() -> None:
    """One fleet, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fleet", choices=("digits", "location30"))
    parser.add_argument("--store", type=Path, help="where models lie; temporary if not given")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/location30.parquet"))
    parser.add_argument("--attacks", nargs="+", help="only rows that begin with one of these; all if not given")
    args = parser.parse_args()
    recipe, task = digits() if args.fleet == "digits" else location30(args.data)
    chosen = [ATTACKS.make(one) for one in (*({"name": name} for name in SIGNALS), *LEARNT)]
    attacks = {
        " ".join([one.name, *(str(getattr(one, key)) for key in ("read", "by") if hasattr(one, key))]): one
        for one in chosen
    }
    if args.attacks:
        attacks = {label: one for label, one in attacks.items() if label.startswith(tuple(args.attacks))}
    with tempfile.TemporaryDirectory() as folder:
        bank = fleet(recipe, task, list(attacks.values()), Store(args.store or Path(folder)))
        table(bank, task, attacks)


if __name__ == "__main__":
    main()
