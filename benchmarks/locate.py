"""Estimators of where membership risk lives: are they right where the truth is known, and what do they say where not?

    python benchmarks/locate.py planted     # memory planted in one region: how often is it found
    python benchmarks/locate.py permuted    # membership permuted: how often is the map flat
    python benchmarks/locate.py where       # ordinary trainings: where each estimator sees the risk
    python benchmarks/locate.py report      # table and figure from the JSON alone

Each of the first three has a JSON of its own under ``results/locate/``, written after every network; stopped, it goes
on where it was. Trainings of CIFAR-10 and Location30 are read from the stores of the other benchmarks; without them
``where`` covers digits only, and says so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from frontier import SEED, Setting, say
from locate_figure import figure, table
from pptp_cifar10 import AUGMENTED, PLAIN
from pptp_location30 import PLAIN as LOCATION

from membrane.core.files import write_bytes
from membrane.core.generators import numpy_generator, torch_generator
from membrane.core.store import Store, read_json, write_json
from membrane.data import Digits, Examples, Splits, Task
from membrane.data.loader import as_inputs
from membrane.metrics import clopper_pearson
from membrane.models import MLP, VGG11, ResNet, ViT
from membrane.pptp import LOCATORS, Locator, Probe, RiskMap, Subject, fork_twins
from membrane.pptp.locators import Memories, permuted, plant
from membrane.pptp.locators.judge import LEVEL
from membrane.regions import partition
from membrane.training import Recipe, fit, train_model
from membrane.training.keys import training_key

AFFORDABLE = 30  # seconds of one training up to which further ones are made
REMEMBERED = 0.6  # AUC below which nothing that could be found was planted: the region is too small for it
NETWORKS: dict[str, Recipe] = {
    name: Recipe(model=model, epochs=24, batch_size=50, lr=lr, keep=6)
    for name, model, lr in (
        ("CNN", VGG11(widths=(16, 32, 64), convolutions=(1, 1, 1), hidden=64, dropout=0.0), 0.03),
        ("ResNet", ResNet(widths=(16, 32, 64), blocks=(1, 1, 1)), 0.03),
        ("ViT", ViT(patch=2, width=32, depth=3, heads=2), 0.05),
        ("MLP", MLP(), 0.03),
    )
}
PLANTED_IN = ("MLP", "ResNet")  # those that learn wrong labels in one region alone


Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One network, and what is measured on it.

    Args:
        key: That its rows have in common, and no other's.
        rows: JSON-ready, one for each estimator.
    """

    key: Row
    rows: Callable[[], Iterator[Row]]


def located(name: str, subject: Subject, seed: int) -> RiskMap:
    """One estimator with its default settings."""
    chosen: Locator = LOCATORS.make(name)
    return chosen.locate(subject, torch_generator(SEED, "locate", name, seed))


def plain(found: RiskMap) -> dict[str, Any]:
    """What is kept of a map."""
    regions = [
        {
            "name": region.name,
            "share": region.share,
            "risk": [region.leakage_drop.low, region.leakage_drop.value, region.leakage_drop.high],
            "null": [region.null.low, region.null.high],
            "accuracy_change": region.accuracy_change.value if region.accuracy_change else None,
            "unrecovered": region.unrecovered.value if region.unrecovered else None,
        }
        for region in found.regions
    ]
    facts = {"p_value": found.p_value, "leakage": found.leakage, "accuracy": found.accuracy, "seconds": found.seconds}
    kept = {"estimator": found.method, "unit": found.unit, **facts, "regions": regions, "flags": list(found.flags)}
    return {key: rounded(value) for key, value in kept.items()}


def rounded(value: Any) -> Any:  # noqa: ANN401 -- any JSON value
    """Floats to five significant digits, however deep."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return {key: rounded(one) for key, one in value.items()} if isinstance(value, dict) else value


def digits(seed: int) -> Splits:
    """Digits in an order of their own for each seed."""
    splits = Digits(test=297).load()
    order = torch.randperm(len(splits.train), generator=torch_generator(SEED, "digits", seed))
    return Splits(splits.train[order], splits.test)


def mislabelled(examples: Examples, seed: int) -> Examples:
    """Every label another one."""
    n_classes = len(examples.classes)
    generator = torch_generator(SEED, "wrong", seed)
    shift = torch.randint(1, n_classes, (len(examples),), generator=generator)
    return examples.relabelled((examples.y + shift) % n_classes)


def planted(seeds: int) -> Iterator[Job]:
    """Wrong labels memorized by one region, which moves on with the seed."""
    for network in PLANTED_IN:
        for seed in range(seeds):
            yield Job({"network": network, "seed": seed}, partial(_planted, network, seed))


def _planted(network: str, seed: int) -> Iterator[Row]:
    recipe = replace(NETWORKS[network], epochs=12, keep=4, weight_decay=0.0, lr=0.04)
    memorize = replace(recipe, epochs=80 if network == "MLP" else 40, keep=5, lr=0.1)
    splits = digits(seed)
    wrong = mislabelled(splits.train, seed)
    memories = Memories(wrong[:500], wrong[500:900], wrong[900:1400], splits.train[1400:])
    begun = fit(recipe, splits.test, None, seed)
    names = partition(begun.model, as_inputs(splits.test.x[:2])).names
    region = names[seed % len(names)]
    subject = plant(begun, region, memories, memorize, torch_generator(SEED, "plant", network, seed))
    leakage = subject.probe.unedited.leakage
    for name in LOCATORS:
        kept = plain(located(name, subject, seed))
        best = max(kept["regions"], key=lambda one: one["risk"][1])["name"]
        found = best == region and kept["p_value"] <= LEVEL
        facts = {"region": region, "leakage": leakage, "best": best, "first": best == region, "found": found}
        yield {"estimator": name, **facts, **{key: kept[key] for key in ("p_value", "seconds")}}


def without_truth(seeds: int) -> Iterator[Job]:
    """Networks that leak, among members and non-members that are half members each."""
    for network in PLANTED_IN:
        for seed in range(seeds):
            yield Job({"network": network, "seed": seed}, partial(_permuted, network, seed))


def _permuted(network: str, seed: int) -> Iterator[Row]:
    subject, holdout = trained_on_digits(network, seed, augment=False)
    generator = torch_generator(SEED, "permuted", network, seed)
    subject = replace(subject, twins=fork_twins(subject, subject.probe.trail.epochs[2], generator))
    nothing = permuted(subject, holdout, generator)
    for name in LOCATORS:
        p_value = located(name, nothing, seed).p_value
        assert p_value is not None
        facts = {"p_value": p_value, "flat": p_value > LEVEL, "leakage": subject.probe.unedited.leakage}
        yield {"estimator": name, **facts}


def trained_on_digits(network: str, seed: int, *, augment: bool) -> tuple[Subject, Examples]:
    """500 members, a tenth of them mislabelled; and the holdout, with as many wrong labels."""
    train = digits(seed).train
    wrong = mislabelled(train, seed)
    noisy = train.relabelled(torch.where(torch.arange(len(train)) % 10 == 0, wrong.y, train.y))
    members, holdout = noisy[:500], noisy[500:]
    recipe = replace(NETWORKS[network], augment=augment)
    trained = fit(recipe, members, None, seed)
    generator = torch_generator(SEED, "probe", network, seed)
    probe = Probe(trained.model, trained.trail, members, holdout, generator, trained.augment)
    return Subject(probe, members, recipe), holdout


def ordinary(seeds: int, stores: Path, data: Path) -> Iterator[Job]:
    """Every network on digits, then the stored ones."""
    for seed in range(seeds):
        for augment in (False, True):
            for network in NETWORKS:
                key = {"network": f"{network}, digits", "augment": augment, "seed": seed}
                yield Job(key, partial(_on_digits, network, seed, augment))
        if seed == 0:
            yield from stored("MLP, Location30", LOCATION, stores / "loc", data / "location30.parquet", 4)
    for on in (PLAIN, AUGMENTED):
        yield from stored("ResNet, CIFAR-10", on, stores / "store", data / "cifar10.parquet", 1)


def _on_digits(network: str, seed: int, augment: bool) -> Iterator[Row]:
    subject, _ = trained_on_digits(network, seed, augment=augment)
    return (plain(located(name, subject, seed)) for name in LOCATORS)


def stored(network: str, on: Setting, store: Path, data: Path, n_models: int) -> Iterator[Job]:
    """Trainings of another benchmark."""
    if not (store.is_dir() and data.is_file()):
        return say(f"{network}: no trainings in {store}, or no {data}; left out")
    task: Task = on.task(data, on.canaries)
    for row in range(n_models):
        if Store(store).has("training", training_key(on.recipe, task, SEED, row)):
            key = {"network": network, "augment": on.recipe.augment, "seed": row}
            yield Job(key, partial(_stored, on, task, Store(store), row))
        else:
            say(f"{network}, {on.name}: model {row} is not in {store}; left out")
    return None


def _stored(on: Setting, task: Task, store: Store, row: int) -> Iterator[Row]:
    """All estimators where training takes seconds; those that train no further networks elsewhere."""
    trained = train_model(on.recipe, task, store, SEED, row)
    assert trained.holdout is not None
    generator = torch_generator(SEED, "probe", row)
    probe = Probe(trained.model, trained.trail, trained.members, trained.holdout[:1000], generator, trained.augment)
    subject = Subject(probe, trained.members, on.recipe)
    dear = () if trained.seconds < AFFORDABLE else ("twin_swap", "intervention")
    return (plain(located(name, subject, row)) for name in LOCATORS if name not in dear)


def measure(jobs: Iterator[Job], path: Path) -> list[Row]:
    """All rows of the jobs; those in the file are taken from there, and every finished job goes into it."""
    rows: list[Row] = read_json(path)["rows"] if path.exists() else []
    for job in jobs:
        if any(job.key.items() <= row.items() for row in rows):
            continue
        start = time.process_time()
        rows += [rounded({**job.key, **row}) for row in job.rows()]
        write_json(path, {"torch": torch.__version__, "rows": rows})
        say(f"{path.stem} {job.key}: {time.process_time() - start:.0f} s of one core")
    return rows


def rates(rows: Sequence[dict[str, Any]], what: str) -> list[dict[str, Any]]:
    """Share of the rows in which it came out, by estimator and network, with n and interval."""
    found = []
    for network in (*dict.fromkeys(row["network"] for row in rows), "all"):
        for name in LOCATORS:
            hits = [bool(row[what]) for row in rows if row["estimator"] == name and network in (row["network"], "all")]
            if hits:
                rate = clopper_pearson(sum(hits), len(hits))
                ends = {"value": rate.value, "low": rate.low, "high": rate.high}
                found.append(rounded({"network": network, "estimator": name, "n": rate.n, **ends}))
    return found


def agreement(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean over networks of Spearman's correlation of two estimators' scores, with a bootstrap over networks.

    Only networks in which some causal estimator finds anything: a flat map has no order.
    """
    from scipy.stats import spearmanr

    maps: dict[tuple[Any, ...], dict[str, list[float]]] = {}
    located_: set[tuple[Any, ...]] = set()
    for row in rows:
        key = row["network"], row["augment"], row["seed"]
        maps.setdefault(key, {})[row["estimator"]] = [region["risk"][1] for region in row["regions"]]
        if LOCATORS.entry(row["estimator"]).kind == "causal" and row["p_value"] <= LEVEL:
            located_.add(key)
    maps = {key: one for key, one in maps.items() if key in located_}
    found = []
    for i, first in enumerate(LOCATORS):
        for second in list(LOCATORS)[i + 1 :]:
            pairs = [(one[first], one[second]) for one in maps.values() if first in one and second in one]
            values = np.array([spearmanr(a, b).statistic for a, b in pairs if len(set(a)) > 1 and len(set(b)) > 1])
            if not len(values):
                continue
            draws = numpy_generator(SEED, "agreement").integers(len(values), size=(2000, len(values)))
            low, high = np.quantile(values[draws].mean(1), [0.025, 0.975])
            ends = {"value": float(values.mean()), "low": float(low), "high": float(high), "n": len(values)}
            found.append(rounded({"first": first, "second": second, **ends}))
    return found


def report(out: Path) -> None:
    """Table and figure."""
    planted_, permuted_, maps = (read_json(out / f"{name}.json")["rows"] for name in ("planted", "permuted", "where"))
    held = [row for row in planted_ if row["leakage"] >= REMEMBERED]
    results = {
        "found": rates(held, "found"),
        "first": rates(held, "first"),
        "flat": rates(permuted_, "flat"),
        "agreement": agreement(maps),
    }
    write_json(out / "rates.json", results)
    write_bytes(out / "locate.md", table(results, maps).encode())
    figure(results, maps, out / "locate.png")
    unplanted = {(row["network"], row["seed"], row["region"]) for row in planted_ if row["leakage"] < REMEMBERED}
    say(f"wrote {out / 'locate.md'} and {out / 'locate.png'}; left out, as nothing was memorized: {sorted(unplanted)}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["planted", "permuted", "where", "report"])
    parser.add_argument("--seeds", type=int, default=0, help="networks of each kind (default: 20, 20, 2)")
    parser.add_argument("--out", type=Path, default=Path("results/locate"))
    parser.add_argument("--stores", type=Path, default=Path("runs"), help="folder with the others' stores")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = arguments.out / f"{arguments.what}.json"
    if arguments.what == "planted":
        measure(planted(arguments.seeds or 20), path)
    elif arguments.what == "permuted":
        measure(without_truth(arguments.seeds or 20), path)
    elif arguments.what == "where":
        measure(ordinary(arguments.seeds or 2, arguments.stores, arguments.data), path)
    else:
        report(arguments.out)


if __name__ == "__main__":
    main()
