"""``membrane protect``: train one model on the whole pool and release it under a run's defense."""

from __future__ import annotations

import dataclasses
import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from membrane.cli.command import Command
from membrane.cli.config import Run, read_run
from membrane.cli.preflight import draw
from membrane.cli.progress import Bar
from membrane.cli.text import wrapped
from membrane.core.errors import SettingError, raise_all
from membrane.core.generators import derive_seed, torch_generator
from membrane.core.settings import did_you_mean, fingerprint, to_plain
from membrane.core.store import write_json, write_tensors
from membrane.core.text import duration
from membrane.data import Examples, Task
from membrane.defenses.rewriting import Rewriting, network_of
from membrane.models import at_work, logits_of
from membrane.regions import copy_state
from membrane.training import Defense, Finished, Recipe, Trained, fit
from membrane.verbs.mistakes import pipeline_mistakes
from membrane.verbs.results import versions

FORMAT = "membrane run 1"
_REWRITES = (
    "{!r} rewrites answers; the network stays as it was trained. It protects a model that answers behind an interface, "
    "not a file of weights that is handed out."
)


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("file", help="the run file")
    parser.add_argument("--out", required=True, help="run folder to write")
    parser.add_argument("--defense", metavar="LABEL", help="defense to release with (default: the file's last)")
    parser.add_argument("--delete-trail", action="store_true", help="keep no training history (`locate` needs it)")
    parser.add_argument("--force", action="store_true", help="replace the release that is in the folder")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def _run(args: Namespace) -> int:
    run, out = read_run(args.file), Path(args.out)
    label, recipe = chosen(run, args.defense)
    task = whole_pool(run, args.quiet)
    raise_all(pipeline_mistakes({label: recipe}, task))
    if out.exists() and not out.is_dir():
        raise SettingError(f"{out} is a file; name a folder.")
    if (out / "run.json").exists() and not args.force:
        raise SettingError(
            f"{out} holds a release already. Two different releases of one training give back the undefended weights: "
            "name another folder and change the seed, or pass --force if the first one never left your hands."
        )
    if recipe.defense.rewrites_answers:
        print(wrapped(_REWRITES.format(recipe.defense.name)))
    with run.engine.entered():
        trained, finished = _train(run, recipe, task, args.quiet)
        model = recipe.defense.release(finished.model)
        before, after = (_accuracy(one, task.test) for one in (trained.model, model))
        made = versions()
    accuracy = {"before": before, "after": after, "n": len(task.test)}
    _write(out, model, trained, finished.facts, keep_trail=not args.delete_trail)
    facts = {"label": label, "accuracy": accuracy, "facts": dict(finished.facts), "data": task.checksum()}
    write_json(out / "run.json", {"format": FORMAT, "settings": run.plain(), "versions": made, **facts})
    _tell(out, label, trained, finished.facts, accuracy, keep_trail=not args.delete_trail)
    for line in _serving(recipe.defense, model, out):
        print(wrapped(line))
    print(f"Next: membrane audit {args.file} --out {out}")
    return 0


def chosen(run: Run, label: str | None) -> tuple[str, Recipe]:
    """Label and recipe of the defense to release with: the named one, or the last.

    Raises:
        SettingError: If the run trains by a function, or has no such defense.
    """
    if run.recipe is None:
        raise SettingError(
            f"{run.train} is your own loop, so only it can train: call membrane.protect(model, trail, members, "
            "holdout) at its end. `membrane audit` then measures what comes out."
        )
    if label is None:
        label = list(run.defenses)[-1]
    if label not in run.defenses:
        near = did_you_mean(label, run.defenses)
        raise SettingError(f"no defense is labelled {label!r}. {near}There are: {', '.join(run.defenses)}.")
    return label, run.recipe.with_defense(run.defenses[label])


def whole_pool(run: Run, quiet: bool = False) -> Task:
    """The run's data for one model that trains on the whole pool, no canaries planted."""
    with Bar(quiet) as bar:
        task = draw(run, 2, 0, bar)
    return dataclasses.replace(task, membership=np.ones((1, len(task.pool)), dtype=bool))


def _train(run: Run, recipe: Recipe, task: Task, quiet: bool) -> tuple[Trained, Finished]:
    with Bar(quiet) as bar:
        seed = derive_seed(run.seed, "release")
        trained = fit(
            recipe, task.members(0), task.holdout, seed, on_epoch=lambda done, total: bar("training", done, total)
        )
    finished = recipe.defense.finish(trained, torch_generator(run.seed, "release", "finish"))
    if trained.trail.released is None:
        trained.trail.record_release(fingerprint(recipe.defense))
    return trained, finished


def _accuracy(model: nn.Module, test: Examples) -> float:
    with at_work(model):
        return float((logits_of(model, test).argmax(1) == test.y).double().mean())


def _write(out: Path, model: nn.Module, trained: Trained, facts: Mapping[str, Any], *, keep_trail: bool) -> None:
    # Of a release that is replaced. run.json, which says that there is one, goes first and comes back last: a kill in
    # between leaves no release rather than parts of two.
    for name in ("run.json", "risk_map.json", "answers.safetensors"):
        with suppress(OSError):  # none there, or no right to; what is written next says so
            (out / name).unlink()
    shutil.rmtree(out / "trail", ignore_errors=True)
    bare = network_of(model)
    write_tensors(out / "model.safetensors", copy_state(bare))
    if own := _of_rewriting(model, bare):
        write_tensors(out / "answers.safetensors", own)
    write_json(out / "plan.json", _plan(facts) or {"stretches": []})
    if "risk_map" in facts:
        write_json(out / "risk_map.json", facts["risk_map"])
    if keep_trail:
        trained.trail.save(out / "trail")
        write_tensors(out / "trail" / "final.safetensors", copy_state(trained.model))


def _plan(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The plan that a defense reports, if it works by one."""
    plan = facts.get("choice", facts).get("plan")
    return None if plan is None else dict(to_plain(plan))


def _tell(
    out: Path,
    label: str,
    trained: Trained,
    facts: Mapping[str, Any],
    accuracy: Mapping[str, float],
    *,
    keep_trail: bool,
) -> None:
    print(f"Trained on {len(trained.members):,} examples in {duration(trained.seconds)}; released as {label!r}.")
    for line in _chosen(facts):
        print(wrapped(line))
    print(
        f"Test accuracy {accuracy['before']:.1%} as trained, {accuracy['after']:.1%} as released "
        f"({accuracy['n']:,} examples)."
    )
    print(f"Wrote {out / 'model.safetensors'}, with plan.json, run.json and what was measured beside it.")
    if keep_trail:
        print(
            wrapped(
                f"{out / 'trail'} is as sensitive as the undefended model: never share it, and delete it once "
                f"`membrane locate {out}` has told you what you want to know."
            )
        )


def _of_rewriting(model: nn.Module, bare: nn.Module) -> dict[str, Tensor]:
    """Numbers of a rewriting that are not the network's: a secret key, a classifier of its own."""
    inside = {id(value) for value in (*bare.parameters(), *bare.buffers())}
    own = {name for name, value in (*model.named_parameters(), *model.named_buffers()) if id(value) not in inside}
    return {name: value for name, value in copy_state(model).items() if name in own}


def _serving(defense: Defense, model: nn.Module, out: Path) -> Sequence[str]:
    """What to put before a network whose answers shall be rewritten."""
    if not isinstance(model, Rewriting):
        return []
    settings = ", ".join(f"{name}={value!r}" for name, value in vars(defense).items())
    how = f"{type(defense).__name__}({settings}).release(network), from membrane.defenses"
    if (out / "answers.safetensors").exists():
        how = f"{type(model).__name__} of {type(model).__module__}, with the numbers in {out / 'answers.safetensors'}"
    return [
        f"{out / 'model.safetensors'} holds the bare network. {defense.name!r} is not in it: whoever has the file, or "
        f"asks it directly, gets the answers of the network as trained. Serve it behind {how}."
    ]


def _chosen(facts: Mapping[str, Any]) -> Sequence[str]:
    plan, reason = _plan(facts), facts.get("choice", {}).get("reason")
    stretches = plan["stretches"] if plan else []
    lines = [f"Chosen: {reason}"] if reason else []
    return lines + [
        f"  {one['region']}: mean of epochs {one['first']} to {one['last']}"
        + (f", mixed with {one['keep']:.0%} of the final weights." if one["keep"] else ".")
        for one in stretches
    ]


COMMAND = Command(
    "protect",
    "train a model on the whole pool and release it protected",
    "membrane protect run.toml --out runs/a --defense PPTP",
    _add,
    _run,
)
