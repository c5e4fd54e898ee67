"""How much a model leaks in the worst case, guessed from what its members' losses lack: a tail.

Source: Dodd, Krčo, Shilov and de Montjoye 2025, "The Tail Tells All: Estimating Model-Level Membership Inference
Vulnerability Without Reference Models", arXiv:2510.19773: training moves hard examples from the tail of the losses to
its head; the true-negative rate of the loss attack, the share of non-members in a tail that members have left,
estimates LiRA's true-positive rate at a low false-positive rate. Of the paper we had the abstract: that the tail begins
where a share of the members equal to that false-positive rate is left is our reading of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from membrane.core.errors import NotEnoughDataError
from membrane.metrics.arrays import trials
from membrane.metrics.intervals import Rate
from membrane.metrics.roc import tpr_at_fpr


def tail_estimate(losses: ArrayLike, is_member: ArrayLike, fpr: float) -> Rate:
    """An estimate, not a measurement, of the share of members that LiRA catches while accusing ``fpr`` of non-members.

    It is the share of non-members whose loss is above those of all members but a share of ``fpr``. The interval is that
    of this share (Clopper-Pearson); how far LiRA is from it, it does not say.

    Args:
        losses: (N,), of one model.
        is_member: (N,) bool.
        fpr: False-positive rate of LiRA, a fraction.

    Raises:
        DataError: If the arrays do not fit each other, are not finite, or lack a class.
        NotEnoughDataError: If ``fpr`` amounts to fewer than 10 members.
        SettingError: If ``fpr`` is not above 0 and at most 1.

    >>> tail_estimate([0.0] * 10 + [1.0] * 7 + [0.0] * 3, [True] * 10 + [False] * 10, fpr=1.0).value
    1.0
    """
    checked, member = trials(losses, is_member)
    try:
        return tpr_at_fpr(checked, np.logical_not(member), fpr)
    except NotEnoughDataError as refusal:
        needed = int(np.ceil(10 / fpr))
        raise NotEnoughDataError(
            f"an estimate at {fpr:.3%} FPR needs at least {needed} members; there are {int(member.sum())}."
        ) from refusal
