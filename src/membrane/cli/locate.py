"""``membrane locate``: which region of a released model's training carries what."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from torch import nn

from membrane.cli.command import Command
from membrane.cli.config import Run, run_from
from membrane.cli.progress import Bar
from membrane.cli.protect import FORMAT, whole_pool
from membrane.cli.text import table, wrapped
from membrane.core.errors import DataError, SettingError, StoreError
from membrane.core.generators import torch_generator
from membrane.core.store import read_json, read_tensors, write_json
from membrane.data import Task
from membrane.pptp import LOCATORS, RiskMap
from membrane.pptp.risk_map import RegionRisk, Spread
from membrane.regions import Trail, load_state
from membrane.verbs import locate


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("folder", help="run folder of `membrane protect`")
    parser.add_argument("--estimator", default="mix_response", help="how to locate, see `membrane list estimators`")
    parser.add_argument(
        "--window", nargs=2, type=int, metavar=("FIRST", "LAST"), help="early epochs to move regions to"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")


def _run(args: Namespace) -> int:
    folder = Path(args.folder)
    run, task = _read(folder)
    trail = _trail(folder)
    model = _model(folder, run, task)
    if task.holdout is None:
        raise SettingError("locating compares members with a holdout, and this run has none. Set audit.holdout to 500.")
    estimator = LOCATORS.make({"name": args.estimator} | ({"window": args.window} if args.window else {}))
    augment = run.recipe.augmentation if run.recipe else None
    parts = model, trail, task.members(0), task.holdout
    with run.engine.entered(), Bar(args.quiet) as bar:
        found = locate(*parts, estimator=estimator, recipe=run.recipe, seed=run.seed, augment=augment, progress=bar)
    write_json(folder / "risk_map.json", found.plain())
    print(shown(found))
    print(f"\nWrote {folder / 'risk_map.json'}.")
    return 0


def _read(folder: Path) -> tuple[Run, Task]:
    if not (folder / "run.json").is_file():
        raise StoreError(f"{folder} holds no run.json. `membrane protect run.toml --out {folder}` writes one.")
    facts = read_json(folder / "run.json")
    if not isinstance(facts, dict) or facts.get("format") != FORMAT or not isinstance(facts.get("settings"), dict):
        raise StoreError(f"{folder / 'run.json'} is not a run of `membrane protect`; it is damaged or not ours.")
    run = run_from(facts["settings"], folder)
    task = whole_pool(run)
    if task.checksum() != facts.get("data"):
        raise DataError("the data changed since this model was trained, so its members are not known any more.")
    return run, task


def _trail(folder: Path) -> Trail:
    if not (folder / "trail").is_dir():
        raise StoreError(
            f"{folder / 'trail'} is gone, and with it the training history that locating needs. Run `membrane protect` "
            "again without --delete-trail, into another folder."
        )
    return Trail.load(folder / "trail")


def _model(folder: Path, run: Run, task: Task) -> nn.Module:
    """The model as trained, before its release."""
    if run.recipe is None:
        raise StoreError(f"{folder / 'run.json'} names no model; it is damaged.")
    model = run.recipe.model.build(task.members(0), torch_generator(0))
    load_state(model, read_tensors(folder / "trail" / "final.safetensors"))
    return model.eval()


def shown(found: RiskMap) -> str:
    """The risk map as a table for the terminal, regions in running order."""
    what = f"Estimator {found.method}"
    if found.window:
        what += f", each region alone moved from the end of training to its mean over epochs {_epochs(found.window)}"
    head = (
        f"{what}. Unedited: members told from the holdout in {found.leakage:.1%} of pairs ({found.n_members:,} "
        f"members, {found.n_holdout:,} holdout examples; 50 % is guessing), holdout accuracy {found.accuracy:.1%}. "
        f"Accuracy in points, risk in {_unit(found)}:"
    )
    scale = _scale(found)
    columns = ["region", "parameters", "risk", "95 % interval", "if chance"]
    rows = [_row(region, scale) for region in found.regions]
    for title, cells in _extras(found, scale).items():
        if any(cells):
            columns.append(title)
            rows = [[*row, cell or "-"] for row, cell in zip(rows, cells, strict=True)]
    flags = [f"{region.name}: {flag}" for region in found.regions for flag in region.flags] + list(found.flags)
    return "\n".join([wrapped(head), "", table([columns, *rows]), *(wrapped(flag, "  ! ") for flag in flags)])


def _epochs(window: tuple[int, int]) -> str:
    return f"{window[0]} to {window[1]}"


def _unit(found: RiskMap) -> str:
    return f"points of {found.unit}" if _scale(found) == 100 else found.unit


def _scale(found: RiskMap) -> float:
    """Hundredths for what lies between 0 and 1."""
    return 100.0 if found.unit in ("AUC", "probability") else 1.0


def _row(region: RegionRisk, scale: float) -> list[str]:
    risk = region.leakage_drop
    share = f"{region.n_parameters:,} ({region.share:.0%})"
    return [region.name, share, _number(risk.value, scale), _interval(risk, scale), _interval(region.null, scale)]


def _extras(found: RiskMap, scale: float) -> dict[str, list[str]]:
    """Columns that not every estimator fills; an empty cell where there is nothing."""
    controls = [region.random_channels for region in found.regions]
    return {
        "random channels": [_number(one["leakage_drop"], scale) if one else "" for one in controls],
        "accuracy": [_value(region.accuracy_change) for region in found.regions],
        "unrecovered": [_value(region.unrecovered) for region in found.regions],
    }


def _value(spread: Spread | None) -> str:
    return _number(spread.value, 100.0) if spread else ""


def _number(value: float, scale: float) -> str:
    return f"{scale * value:+.1f}" if scale == 100 else f"{value:+.3g}"


def _interval(spread: Spread, scale: float) -> str:
    return f"{_number(spread.low, scale)} to {_number(spread.high, scale)}"


COMMAND = Command(
    "locate", "show which region of a protected model's training carries what", "membrane locate runs/a", _add, _run
)
