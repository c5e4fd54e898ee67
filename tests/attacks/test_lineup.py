"""All targets at once: what is left of sums when one model is taken out, block by block, memory-mapped or not."""

from __future__ import annotations

import dataclasses
import decimal
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from membrane.attacks import ATTACKS, Attack, GradientNorm, Lineup, LiRA, LossThreshold, references
from membrane.attacks.leave_out import LogSumsBut, MomentsBut
from membrane.attacks.references import log_mean_exp, log_mixture
from membrane.core.errors import DataError, ModelError, NotEnoughDataError
from tests.attacks.bank import LEAK, draw_bank
from tests.attacks.rows import ATTACK_ROWS
from tests.attacks.test_attack import Satisfied


def hard_values(spread: float, far: float) -> np.ndarray:
    """(7, 3, 2) values about +-100 that differ by ``spread``, but for one model that is ``far`` from the others."""
    rng = np.random.default_rng(0)
    values = np.array([100.0, -100.0, 3.0])[:, None] + spread * rng.normal(size=(7, 3, 2))
    values[4] += far
    return values


@pytest.mark.parametrize("spread", [1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("far", [0.0, 1.0, 200.0, -1e4])
def test_moments_but_one_are_exact_to_rounding(spread: float, far: float) -> None:
    """Against fractions, which do not round: distance from the mean in standard deviations, to 1e-9."""
    values = hard_values(spread, far)
    sums = MomentsBut.of(values.copy())
    for model in range(7):
        left = sums.but(model, values[model])
        z = left.deviation(values[0]) / left.std(per_example=True, least=1e-300)
        for place in np.ndindex(3, 2):
            others = [Fraction(float(values[(r, *place)])) for r in range(7) if r != model]
            mean = sum(others) / 6
            variance = sum((other - mean) ** 2 for other in others) / 5
            exact = float(Fraction(float(values[(0, *place)])) - mean) / math.sqrt(variance)
            assert z[place] == pytest.approx(exact, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("far", [0.0, 5.0, 700.0])
def test_log_sums_but_one_lose_nothing_to_the_one_that_was_alone_sure(far: float) -> None:
    values = -np.abs(np.random.default_rng(1).normal(scale=3.0, size=(5, 20, 2))) - far
    values[np.arange(20) % 5, np.arange(20)] += far
    sums = LogSumsBut.of(values.copy())
    for model in range(5):
        others = np.delete(values, model, axis=0)
        expected = np.logaddexp.reduce(others, axis=0) - np.log(4)
        np.testing.assert_allclose(sums.mean_but(model, values[model]), expected, rtol=1e-13)


@pytest.mark.parametrize("exponent", [-40, -18, -9, -3, 0, 2])
def test_log_means_are_exact_to_rounding_whatever_the_losses(exponent: int) -> None:
    """Against 60 decimal digits: of all, of all but one, and of a mixture, where probabilities round to 1 or to 0."""
    losses = 10.0**exponent * np.random.default_rng(2).lognormal(sigma=2, size=(5, 6, 1))
    sums, pairs = LogSumsBut.of(-losses.copy()), LogSumsBut.of(-losses[:4:2], -losses[1:4:2])
    everyone = np.ones((5, 6), dtype=bool)
    with decimal.localcontext(prec=60):
        p = [[(-decimal.Decimal(float(loss))).exp() for loss in row] for row in losses[..., 0]]

        def log_mean(n: int, rows: Sequence[int]) -> float:
            return float((sum(p[row][n] for row in rows) / len(rows)).ln())

        exact = [log_mean(n, range(5)) for n in range(6)]
        np.testing.assert_allclose(log_mean_exp(-losses, everyone)[:, 0], exact, rtol=1e-12)
        for model in range(5):
            left = [log_mean(n, [row for row in range(5) if row != model]) for n in range(6)]
            np.testing.assert_allclose(sums.mean_but(model, -losses[model])[:, 0], left, rtol=1e-12)
        left = [log_mean(n, [0, 1]) for n in range(6)]
        np.testing.assert_allclose(pairs.mean_but(1, -losses[2], -losses[3])[:, 0], left, rtol=1e-12)
        mixed = [float((p[0][n] * 13 / 20 + decimal.Decimal(7) / 20).ln()) for n in range(6)]
        found = log_mixture((0.65, -losses[0]), (0.35, np.zeros_like(losses[0])))
        np.testing.assert_allclose(found[:, 0], mixed, rtol=1e-12)


def test_agreeing_models_leave_no_variance_and_two_of_three_leave_theirs() -> None:
    values = np.full((3, 1, 1), 0.1)
    assert MomentsBut.of(values.copy()).but(1, values[1]).squares == 0
    values[:, 0, 0] = 1.0, 1.0, 4.0
    squares = [MomentsBut.of(values.copy()).but(model, values[model]).squares.item() for model in range(3)]
    assert squares == pytest.approx([4.5, 4.5, 0.0])


@pytest.mark.parametrize("name", ["lira", "rmia", "reference", "calibration", "base"])
def test_blocks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = draw_bank(3, LEAK, 8, 50, 2)
    whole = ATTACKS.make(name).against_all(bank.lineup)
    monkeypatch.setattr(references, "BLOCK", 8 * 2 * 7)  # seven examples
    np.testing.assert_array_equal(ATTACKS.make(name).against_all(bank.lineup), whole)


@pytest.mark.parametrize("attack", {row.name: row.attack for row in ATTACK_ROWS}.values(), ids=lambda one: one.name)
def test_memory_mapped_signals_give_the_same_and_are_not_written(attack: Attack, tmp_path: Path) -> None:
    bank = draw_bank(3, LEAK, 8, 50, 2)

    def mapped(values: np.ndarray) -> np.ndarray:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        np.save(path, values)
        return np.load(path, mmap_mode="r")

    line = bank.lineup
    on_disk = dataclasses.replace(line, pool=line.pool.map(mapped), population=line.population.map(mapped))
    np.testing.assert_array_equal(attack.against_all(on_disk), attack.against_all(line))


def test_what_does_not_come_in_complementary_pairs_is_refused() -> None:
    line = draw_bank(3, LEAK).lineup
    members = line.membership.copy()
    members[1, 5] = members[0, 5]
    with pytest.raises(DataError, match="complementary"):
        dataclasses.replace(line, membership=members)
    with pytest.raises(DataError, match=r"membership has shape \(8, 199\).*must be \(8, 200\)"):
        dataclasses.replace(line, membership=members[:, 1:])
    with pytest.raises(DataError, match="labels has shape"):
        dataclasses.replace(line, labels=line.labels[1:])


def test_a_lineup_is_checked_as_an_observation_is() -> None:
    line = draw_bank(3, LEAK).lineup
    four = Lineup(
        line.pool.map(lambda v: v[:4]), line.membership[:4], line.labels, line.population.map(lambda v: v[:4])
    )
    with pytest.raises(NotEnoughDataError, match=r"needs 2 IN references .* there are 1"):
        LiRA().against_all(four)
    logit = line.pool.rescaled_logit.copy()
    logit[2, 3] = np.nan
    spoiled = dataclasses.replace(line, pool=dataclasses.replace(line.pool, rescaled_logit=logit))
    with pytest.raises(DataError, match="reads 'rescaled_logit', and on the pool"):
        LiRA().against_all(spoiled)
    LossThreshold().against_all(spoiled)
    unread = dataclasses.replace(line, pool=dataclasses.replace(line.pool, readings={}))
    with pytest.raises(DataError, match=r"gradients-.* was not read off the models; there are loss"):
        GradientNorm().against_all(unread)
    with pytest.raises(ModelError, match="NaN or infinity for 8 of 8 x 200"):
        Satisfied(lambda n: np.where(np.arange(n) < 1, np.nan, 0.0)).against_all(line)


def test_an_attack_without_a_fast_way_is_scored_target_by_target_on_the_signals_it_declares() -> None:
    @dataclasses.dataclass(frozen=True)
    class Nearest(Attack):
        name = "nearest"
        signals = ("margin",)
        min_out_models = 1

        def score(self, seen):  # noqa: ANN001, ANN202
            assert np.isnan(seen.reference.loss).all()
            return -np.abs(seen.reference.margin - seen.target.margin).min(axis=(0, 2))

    bank = draw_bank(3, LEAK)
    found = Nearest().against_all(bank.lineup)
    rows = [np.delete(np.arange(8), [t, t ^ 1]) for t in range(8)]
    margin = bank.signals.margin
    np.testing.assert_array_equal(
        found, [-np.abs(margin[row] - margin[t]).min(axis=(0, 2)) for t, row in enumerate(rows)]
    )
