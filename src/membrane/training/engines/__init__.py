"""Where the models of a fleet are trained: one after the other here, in processes beside this one, on a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from membrane.core.catalogue import Catalogue
from membrane.core.errors import SettingError
from membrane.core.settings import to_plain
from membrane.training.engines.cluster import RayCluster
from membrane.training.engines.engine import Engine, Job, Told
from membrane.training.engines.in_process import InProcess
from membrane.training.engines.processes import Processes

ENGINES: Catalogue[Engine] = Catalogue("engine", (InProcess, Processes, RayCluster))


def engine_of(
    engine: str | Mapping[str, Any] | Engine, workers: int | None = None, device: str | None = None
) -> Engine:
    """The engine that was asked for.

    Args:
        engine: A name, a table ``{"name": ..., setting: value}``, or an engine.
        workers: Its setting of that name, if given.
        device: Likewise.

    Raises:
        SettingError: If there is no such engine or setting.
    """
    said = {name: value for name, value in (("workers", workers), ("device", device)) if value is not None}
    if isinstance(engine, Engine) and not said:
        return engine
    if not isinstance(engine, str | Mapping | Engine):
        raise SettingError(f'engine is {engine!r}; give a name or a table such as {{ name = "processes" }}.')
    plain = {"name": engine} if isinstance(engine, str) else dict(to_plain(engine))
    return ENGINES.make(plain | said)


__all__ = ["ENGINES", "Engine", "InProcess", "Job", "Processes", "RayCluster", "Told", "engine_of"]
