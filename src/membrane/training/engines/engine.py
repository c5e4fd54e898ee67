"""What an engine is: something that gets a job done for every row of a fleet, wherever that happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch

from membrane.core.device import check_device, find_device, working_on
from membrane.core.errors import SettingError
from membrane.core.progress import Progress
from membrane.training.threads import threads

Told = Callable[[int, str, float], None]  # row, what is being done, share of the row that is done; 1 at its end
MOST_DEATHS = 3  # of workers over one model, before that model is blamed


class Job(Protocol):
    """What an engine gets done; can be sent to another process where its parts can."""

    @property
    def home(self) -> str | None:
        """Folder that has to be on the import path where it is done; None if nothing has."""

    def __call__(self, row: int, progress: Progress) -> None:
        """Finish one model: its signals lie in the store when this returns."""


@dataclass(frozen=True)
class Engine:
    """Base class of what decides where and how many at a time models are trained.

    All engines run the same code on every model and keep it in the same store, so with as many threads on the CPU they
    end with the same bits.

    Args:
        threads: That torch computes with while a model is trained; as many as now if not given. The number is part
            of the training key: models that were trained with another one are not reused.
        device: Where recipes train and are asked: "auto", a CUDA GPU if torch sees one and the CPU if not; "cpu";
            "cuda"; or "cuda:1" for the second GPU. Its kind is part of the training key, too.
    """

    name: ClassVar[str]

    threads: int | None = None
    device: str = field(default="auto", kw_only=True)

    def __post_init__(self) -> None:
        self._positive(threads=self.threads)
        check_device(self.device)

    def works_on(self) -> torch.device:
        """Where its models are trained; "auto" stays where this process works already, if something said where.

        Raises:
            SettingError: If that device is not there.
        """
        return find_device(self.device)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This process computes with its threads and works on its device inside: all keys hold both.

        Raises:
            SettingError: If that device is not there.
        """
        with threads(self.threads or torch.get_num_threads()), working_on(self.works_on()):
            yield

    def refuse(self, train: object) -> None:
        """Refuse a training function that cannot go where this engine would train.

        Raises:
            SettingError: Saying why, and what to do.
        """

    def run(self, job: Job, rows: Sequence[int], n_threads: int, told: Told) -> None:
        """Do the job for every row; what is finished stays finished, whatever happens to the others.

        Args:
            job: What to do.
            rows: For which models.
            n_threads: That torch has to compute with, equal for all engines.
            told: Hears how far each row is, always in this process.

        Models are trained where this process works, see ``entered``.
        """
        raise NotImplementedError

    def at_once(self, n_rows: int, n_threads: int) -> int:
        """How many of so many models are trained at the same time, for an estimate."""
        return 1

    @property
    def n_devices(self) -> int:
        """GPUs that models are spread over where they are trained on such, for an estimate."""
        return 1

    def _positive(self, **values: float | None) -> None:
        for setting, value in values.items():
            if value is not None and value < 1:
                raise SettingError(f"engine {self.name!r}: {setting} is {value}; it must be 1 or more.")
