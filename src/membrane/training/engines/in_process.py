"""One model after the other, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from membrane.training.engines.engine import Engine, Job, Told


@dataclass(frozen=True)
class InProcess(Engine):
    """Train one model after the other where ``audit`` was called."""

    name: ClassVar[str] = "in_process"

    def run(self, job: Job, rows: Sequence[int], n_threads: int, told: Told) -> None:
        """Row by row; the first error ends it."""
        for row in rows:
            job(row, lambda what, part, whole, row=row: told(row, what, part / whole))
            told(row, "models", 1.0)
