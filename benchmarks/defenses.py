"""Every defense at a few strengths, on Location30 (an MLP) and on CIFAR-10 (a small ResNet).

8 models in complementary pairs, 250 canaries in the pool. The attackers' reference models went through the same
defense. Each method's points are compared with the curve of short full schedules, the strongest baseline that is free.
Cost is seconds of training, of the model that took least, over those of the undefended one; on a machine that others
load it says little.

A third setting plants near duplicates in place of mislabelled examples, for defenses that learn an example's label from
models that did not see it. See ``frontier.py`` for how; DP-SGD needs Opacus.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from frontier import ATTACKED_BY, Setting, main

from membrane.data import Parquet, Splits, Table
from membrane.defenses import (
    CCL,
    CRL,
    DMP,
    DPSGD,
    HAMP,
    KCD,
    L2,
    MIST,
    PAST,
    SAM,
    SELENA,
    SWA,
    AdvReg,
    ConfidencePenalty,
    CutMix,
    Dropout,
    FocalLoss,
    HAMPOutput,
    HAMPTraining,
    LabelSmoothing,
    MemGuard,
    Mixup,
    MixupMMD,
    NeuGuard,
    RelaxLoss,
    Rounding,
    ShortSchedule,
    Temperature,
    TopK,
)
from membrane.models import MLP, ResNet
from membrane.training import Defense, Recipe


def table(path: Path) -> Splits:
    """Table of features, split at random with a fixed seed."""
    return Table(str(path)).load()


def images(path: Path) -> Splits:
    """Parquet of encoded images."""
    return Parquet(str(path)).load()


LOSSES: tuple[Defense, ...] = (
    *(LabelSmoothing(epsilon) for epsilon in (0.1, 0.3, 0.6)),
    *(ConfidencePenalty(beta) for beta in (0.1, 0.5, 2.0)),
    *(FocalLoss(gamma) for gamma in (1.0, 2.0, 5.0)),
    *(RelaxLoss(alpha) for alpha in (0.25, 0.5, 1.0)),
    *(CCL(alpha) for alpha in (0.5, 0.3, 0.1)),
    *(CRL(alpha) for alpha in (0.5, 1.0, 2.0)),
)
ANSWERS: tuple[Defense, ...] = (
    *(Temperature(temperature) for temperature in (2.0, 5.0, 20.0)),
    *(TopK(k) for k in (1, 3, 10)),
    *(Rounding(digits) for digits in (1, 2, 3)),
    HAMPOutput(),
)
OTHERS: tuple[Defense, ...] = (
    *(KCD(mix) for mix in (0.3, 0.6, 1.0)),
    *(MIST(2, weight) for weight in (0.0, 0.3, 1.0)),
    *(NeuGuard(0.01, variance) for variance in (1.0, 5.0, 20.0)),
    *(PAST(weight) for weight in (1e-4, 1e-3, 1e-2)),
    *(SAM(rho) for rho in (0.05, 0.1, 0.2)),
)
ATTACKS = (*ATTACKED_BY, "correctness")  # what labels alone give away: no rewriting of answers changes it

LOCATION30 = Setting(
    "location30",
    "Location30, MLP",
    Recipe(model=MLP(), epochs=40, keep=None, lr=0.01, batch_size=64),
    table,
    late=(),
    windows=(),
    wide=((3, 6), (5, 10), (8, 20)),
    trainings=(
        Defense(),
        *(ShortSchedule(epochs) for epochs in (6, 8, 12, 18)),
        *LOSSES,
        *(L2(decay) for decay in (0.002, 0.01, 0.03)),
        *(Dropout(p) for p in (0.3, 0.5, 0.8)),
        *(Mixup(alpha) for alpha in (0.2, 1.0, 4.0)),
        *(HAMPTraining(gamma, 0.001) for gamma in (0.3, 0.5, 0.8)),
        *(HAMP(gamma, 0.001) for gamma in (0.3, 0.5, 0.8)),
        *ANSWERS,
        *(DMP(share) for share in (1.0, 0.5, 0.25)),
        *(MixupMMD(weight=weight) for weight in (1.0, 3.0, 10.0)),
        *(SELENA(10, left_out) for left_out in (2, 4, 6)),
        *(DPSGD(noise) for noise in (0.01, 0.1, 1.0)),
        *(AdvReg(weight) for weight in (1.0, 3.0, 10.0)),
        *OTHERS,
        *(SWA(start, 0.005) for start in (20, 28, 36)),
        *(MemGuard(epsilon) for epsilon in (0.1, 0.5, 1.0)),
    ),
    stops=(4, 8, 12),
    pool=3_000,
    holdout=1_000,
    test=1_002,
    canaries=250,
    n_models=8,
    clean_models=2,
    budgets=(),
    attacks=ATTACKS,
    compared="short schedule",
    data=Path("../shared/data/location30.parquet"),
)

NEAR_DUPLICATES = dataclasses.replace(
    LOCATION30,
    name="location30_near_duplicates",
    title="Location30, MLP, near duplicates",
    wide=(),
    trainings=(
        Defense(),
        *(ShortSchedule(epochs) for epochs in (8, 12)),
        *(RelaxLoss(alpha) for alpha in (0.5, 1.0)),
        *(SELENA(10, left_out) for left_out in (2, 4, 6)),
    ),
    stops=(),
    canary_kind="near_duplicate",
)

CIFAR10 = Setting(
    "cifar10",
    "CIFAR-10, small ResNet",
    Recipe(model=ResNet(norm="group"), epochs=24, keep=None),  # so that DP-SGD can train the same network
    images,
    late=(),
    windows=(),
    wide=((1, 3), (2, 5), (4, 9)),
    trainings=(
        Defense(),
        *(ShortSchedule(epochs) for epochs in (5, 7, 10)),
        *LOSSES,
        *(L2(decay) for decay in (0.002, 0.005, 0.02)),
        *(Dropout(p) for p in (0.3, 0.5, 0.8)),
        *(Mixup(alpha) for alpha in (0.2, 1.0, 4.0)),
        *(CutMix(probability) for probability in (0.3, 0.6, 1.0)),
        *(HAMPTraining(gamma, 0.001) for gamma in (0.5, 0.8, 0.95)),
        *(HAMP(gamma, 0.001) for gamma in (0.5, 0.8, 0.95)),
        *ANSWERS,
        *(DMP(share) for share in (1.0, 0.5, 0.25)),
        *(MixupMMD(weight=weight) for weight in (1.0, 3.0, 10.0)),
        *(AdvReg(weight) for weight in (1.0, 3.0, 10.0)),
        *(SELENA(10, left_out) for left_out in (2, 4, 6)),
        *(DPSGD(noise) for noise in (0.01, 0.1, 0.5)),
        *OTHERS,
        *(SWA(start, 0.05) for start in (10, 16, 20)),
        *(MemGuard(epsilon) for epsilon in (0.1, 0.5, 1.0)),
    ),
    stops=(3, 5, 8),
    budgets=(),
    attacks=ATTACKS,
    compared="short schedule",
    data=Path("../shared/data/cifar10.parquet"),
)

if __name__ == "__main__":
    main(__doc__, (LOCATION30, NEAR_DUPLICATES, CIFAR10), Path("../shared/data"), Path("results/defenses"))
