"""How strong an attacker an audit stood for, and what a stronger one would take and add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from membrane.attacks import Attack


@dataclass(frozen=True)
class Tier:
    """A step of the ladder.

    Args:
        name: In reports.
        references: Reference models of each kind (IN and OUT) that an example needs.
        adds: What it shows beyond the step below.
    """

    name: str
    references: int
    adds: str


LADDER = (
    Tier("no references", 0, "what the model's own answers give away, compared with nothing"),
    Tier(
        "few references",
        1,
        "how each example is answered by models that were and were not trained on it: usually far more is found",
    ),
    Tier(
        "many references",
        32,
        "a variance for each example, which sharpens LiRA where few non-members may be accused, and rates at 0.1 %",
    ),
)
WEIGHTS = "attacks that read the weights, for whoever receives the model itself"


def tier_of(attacks: Sequence[Attack], references: int, in_every_example: int) -> dict[str, Any]:
    """The step that was taken, the next, and whether the weights were read; JSON-ready.

    Args:
        attacks: That were run.
        references: Reference models that a target was compared with.
        in_every_example: The fewest of them of one kind, IN or OUT, that an example has.
    """
    step = max(i for i, one in enumerate(LADDER) if in_every_example >= one.references)
    following = LADDER[step + 1] if step + 1 < len(LADDER) else None
    weights = any(one.threat_model == "weights" for one in attacks)
    return {
        "name": LADDER[step].name + (", weights" if weights else ""),
        "references": references,
        "weights": weights,
        "next": None
        if following is None
        else {"name": following.name, "models": 2 * following.references + 2, "adds": following.adds},
        "unread": None if weights else WEIGHTS,
    }
