"""Loss trajectory: a network learns from the losses of students on their way to each reference what members look like.

Source: Liu, Zhao, Backes and Zhang 2022, "Membership Inference Attacks by Exploiting Loss Trajectory",
arXiv:2208.14933: losses of x under the distilled model after each epoch and under the target itself, into a network of
hidden widths 512, 128 and 32. Where we differ: all references serve as shadow models (theirs: one), Adam instead of
SGD; how the students differ is said where they are trained (the reading ``trajectory``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from membrane.attacks.learned import Learned
from membrane.core.values import Floats, Signals
from membrane.readings import Reading, Trajectory
from membrane.readings.trajectory import Student


@dataclass(frozen=True)
class LossTrajectory(Learned):
    """Log-odds of membership that a network, trained on the references' loss trajectories, gives to the target's.

    Cost: every model is distilled once, and for every pair of targets one network is trained.

    Args:
        hidden: Widths of the hidden layers.
        lr: Of Adam.
        epochs: Of distilling, 1 or more; the paper's are 100.
        student: "same", the target's architecture, or "small", the zoo's default for such inputs.

    Raises:
        SettingError: If a setting is outside its range.
    """

    name: ClassVar[str] = "loss_trajectory"
    source: ClassVar[str] = "Liu et al. 2022, arXiv:2208.14933"
    min_population: ClassVar[int] = 100
    trains: ClassVar[str] = f"a student of every model on the population; {Learned.trains}"

    hidden: tuple[int, ...] = (512, 128, 32)
    lr: float = 0.001
    epochs: int = 10
    student: Student = "same"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._trajectory  # noqa: B018 -- refuses what is outside its range

    @property
    def _trajectory(self) -> Trajectory:
        return Trajectory(self.epochs, self.student)

    @property
    def readings(self) -> tuple[Reading, ...]:
        return (self._trajectory,)

    def inputs(self, signals: Signals) -> Floats:
        return signals[self._trajectory.key]
