"""What a comparison will take in one of its settings, before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from membrane.training.engines import Engine
from membrane.verbs.comparison.cells import Method
from membrane.verbs.comparison.compare import Places, pipelines_of
from membrane.verbs.comparison.search import Search
from membrane.verbs.estimate import estimate_task
from membrane.verbs.observe import readings_of


@dataclass(frozen=True)
class Cost:
    """Of all seeds, searches included.

    Args:
        n_cells: Points to measure, each under every seed.
        n_trainings: Models to train.
        seconds: Of training and asking; None if not known.
        unknown: Why not.
        disk: Bytes, all weights kept.
    """

    n_cells: int
    n_trainings: int
    seconds: float | None
    unknown: str
    disk: int


def cost_of(
    places: Places, name: str, methods: Sequence[Method], search: Search, seeds: int, seed: int, engine: Engine
) -> Cost:
    """What one setting takes; nothing that is finished is left out.

    Args:
        places: The settings, examined.
        name: Of the setting.
        methods: With their strengths; a search counts as its trials and as many strengths as it may keep.
        search: How strengths are searched.
        seeds: How many.
        seed: The first.
        engine: That trains.
    """
    task = places.task(name, seed)
    n_models = len(task.membership)
    listed = [method for method in methods if method.strengths]
    about = estimate_task(
        pipelines_of(places.settings[name], listed), task, None, seed, readings_of(places.attacks), engine
    )
    seconds, trainings, disk = about.seconds or 0.0, about.n_trainings * seeds, about.disk * seeds
    unknown, searched = about.unknown, [method for method in methods if method.searched]
    for method in searched:
        ends = pipelines_of(places.settings[name], [Method(method.label, method.ends[:1])])
        one = estimate_task(ends, task, None, seed, readings_of(places.attacks), engine)
        times = search.keep * seeds + search.trials * search.models / n_models
        seconds, trainings, disk = (
            seconds + times * (one.seconds or 0.0) / seeds,
            trainings + round(one.n_trainings * times),
            disk + round(times * one.disk),
        )
        unknown = unknown or one.unknown
    n_points = sum(len(method.strengths) for method in methods) + search.keep * len(searched)
    return Cost(n_points * seeds, trainings, None if unknown else seconds * seeds, unknown, disk)
