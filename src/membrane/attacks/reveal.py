"""Reveal attack: train the released model on a little, on examples that nobody trained on, and attack what comes back.

Source: Siddiqui et al. 2025, "From Dormant to Deleted", arXiv:2505.22310 (memory that an edit hid comes back after
fine-tuning). Where we differ: the attacker trains on strangers, and compares with reference models that were trained on
in the same way, so that what training on does to everybody cancels.

For every defense that edits weights after training. A model that answers like one that never saw an example may still
know it; then this attack finds more than the same one on the model's answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from membrane.attacks.on_reading import OnReading
from membrane.core.values import SIGNAL_KINDS, Floats, Signals
from membrane.readings import Reading, Revealed
from membrane.readings.revealed import by_kind


@dataclass(frozen=True)
class Reveal(OnReading):
    """Another attack, LiRA by default, on a model's answers and those of two copies trained on half of the population.

    To the other attack these are further queries of one model.

    Args:
        refit: Positions of the regions that are drawn anew and trained over the others, which stay, in running order
            from 0 or from the end with -1 the last; none to train all on from what they are.
        epochs: Of training on, over half of the population.
        lr: Of Adam.
        base: Any attack on signals.

    Raises:
        SettingError: Listing every setting that does not fit.
    """

    name: ClassVar[str] = "reveal"
    source: ClassVar[str] = "cf. Siddiqui et al. 2025, arXiv:2505.22310 (relearning); with LiRA's references, ours"
    trains: ClassVar[str] = "two copies of every model, for a few epochs over half of the population each"
    by_default: ClassVar[bool] = False

    refit: tuple[int, ...] = ()
    epochs: int = Revealed.epochs
    lr: float = Revealed.lr

    def __post_init__(self) -> None:
        _ = self.reading  # refuses what does not fit
        super().__post_init__()

    @property
    def reading(self) -> Reading:
        return Revealed(self.refit, self.epochs, self.lr)

    @property
    def kinds_read(self) -> tuple[str, ...]:
        return SIGNAL_KINDS

    @property
    def signals(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the base, as the model gives them."""
        return self.base.signals

    def found(self, read: Floats) -> dict[str, Floats]:
        return by_kind(read)

    def moved(self, signals: Signals) -> dict[str, Floats]:
        revealed = super().moved(signals)
        return {kind: np.concatenate([signals[kind], revealed[kind]], axis=-1) for kind in self.base.signals}
