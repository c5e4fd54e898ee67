"""Mixup, CutMix and Mixup + MMD: what is drawn, what is mixed, what the labels become."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch.nn import functional as F

from membrane.core.errors import SettingError
from membrane.core.generators import torch_generator
from membrane.data import Examples
from membrane.data.loader import Batch
from membrane.defenses import CutMix, Defense, Mixup, MixupMMD
from membrane.defenses.mixup import MixedBatch, mixed_loss
from membrane.defenses.mixup_mmd import mmd2
from membrane.models import MLP, logits_of
from membrane.training import Recipe, Trained, fit
from tests.defenses.questions import HOLDOUT, MEMBERS, recipe_with
from tests.training.jobs import weight_bits


def batch(n: int = 6, size: int = 8) -> Batch:
    x = torch.arange(n, dtype=torch.float32).view(n, 1, 1, 1).expand(n, 3, size, size)
    return Batch(x, torch.arange(n), torch.arange(n))


def mixed(defense: Defense, seed: int, n: int = 6) -> MixedBatch:
    found = defense.batch(batch(n), 0, torch_generator(seed))
    assert isinstance(found, MixedBatch)
    return found


def test_mixup_mixes_inputs_as_it_mixes_labels() -> None:
    for seed in range(5):
        one = mixed(Mixup(1.0), seed)
        expected = one.share * one.y + (1 - one.share) * one.partner  # inputs hold their own label
        torch.testing.assert_close(one.x[:, 0, 0, 0], expected.float())
        assert sorted(one.partner.tolist()) == list(range(6))
        assert torch.equal(one.index, torch.arange(6))


def test_mixup_draws_its_share_from_beta() -> None:
    shares = torch.tensor([mixed(Mixup(1.0), seed).share for seed in range(300)])
    assert shares.mean() == pytest.approx(0.5, abs=4 * (1 / 12 / 300) ** 0.5)
    assert shares.var() == pytest.approx(1 / 12, abs=0.02)
    ends = torch.tensor([mixed(Mixup(0.05), seed).share for seed in range(100)])
    assert ((ends < 0.05) | (ends > 0.95)).float().mean() > 0.7, "small alpha mixes hardly"


def test_the_same_generator_mixes_the_same() -> None:
    for defense in (Mixup(1.0), CutMix(1.0)):
        assert torch.equal(mixed(defense, 3).x, mixed(defense, 3).x)
        assert not torch.equal(mixed(defense, 3).x, mixed(defense, 4).x)


def test_mixed_loss_by_hand() -> None:
    logits = torch.tensor([[log(6.0), log(3.0), 0.0], [0.0, log(2.0), 0.0]], requires_grad=True)
    one = MixedBatch(torch.zeros(2, 1), torch.tensor([0, 2]), torch.arange(2), torch.tensor([1, 2]), 0.75)
    expected = [-0.75 * log(0.6) - 0.25 * log(0.3), -log(0.25)]
    assert mixed_loss(logits, one).tolist() == pytest.approx(expected)
    soft = torch.tensor([[0.75, 0.25, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(mixed_loss(logits, one), F.cross_entropy(logits, soft, reduction="none"))
    plain = Batch(one.x, one.y, one.index)
    assert torch.equal(mixed_loss(logits, plain), F.cross_entropy(logits, one.y, reduction="none"))


def test_cutmix_pastes_one_box_and_counts_its_pixels() -> None:
    sizes = set()
    for seed in range(60):
        one = mixed(CutMix(1.0), seed)
        foreign = one.x[:, 0] != one.y.view(-1, 1, 1)
        box = foreign[one.partner != one.y].any(0) if (one.partner != one.y).any() else torch.zeros(8, 8)
        rows, columns = box.any(1).sum().item(), box.any(0).sum().item()
        assert box.sum() == rows * columns, "a box"
        assert one.share == pytest.approx(1 - rows * columns / 64)
        assert set(one.x[foreign.unsqueeze(1).expand_as(one.x)].tolist()) <= set(range(6))
        sizes.add(int(box.sum()))
    assert len(sizes) > 10


def test_cutmix_mixes_the_share_of_batches_it_is_told_to() -> None:
    n = sum(isinstance(CutMix(0.3).batch(batch(), 0, torch_generator(seed)), MixedBatch) for seed in range(400))
    assert n / 400 == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 400) ** 0.5)


def test_cutmix_refuses_features() -> None:
    features = Examples(torch.rand(20, 5), torch.arange(20) % 2, ("a", "b"))
    with pytest.raises(SettingError, match="cutmix pastes boxes of images"):
        fit(Recipe(MLP((4,)), epochs=1, batch_size=10, defense=CutMix()), features, None, 0)


def test_mmd_by_hand() -> None:
    a = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    b = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    # within a: two zeros and twice a distance of 1; within b: 1; between: squares 1 and 2
    expected = (2 + 2 * exp(-0.5)) / 4 + 1 - 2 * (exp(-0.5) + exp(-1)) / 2
    assert mmd2(a, b).item() == pytest.approx(expected)
    assert mmd2(a, a).item() == pytest.approx(0)
    assert mmd2(a, b, width=1e-3).item() == pytest.approx(0.5 + 1)
    far = torch.full((4, 2), 100.0, dtype=torch.float64)
    assert mmd2(torch.zeros(3, 2, dtype=torch.float64), far).item() == pytest.approx(2)
    x = torch.rand(4, 3, dtype=torch.float64, generator=torch_generator(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: mmd2(z, torch.zeros(5, 3, dtype=torch.float64)), x)


def gap(done: Trained) -> float:
    """MMD^2 between answers to members and to the holdout."""
    members, others = (torch.softmax(logits_of(done.model, part), 1) for part in (MEMBERS, HOLDOUT))
    return mmd2(members, others).item()


def test_mmd_brings_the_answers_of_members_and_holdout_together() -> None:
    apart, together = (fit(recipe_with(MixupMMD(0.0, w)), MEMBERS, HOLDOUT, 0) for w in (0.0, 20.0))
    assert gap(together) < 0.7 * gap(apart), (gap(together), gap(apart))


def test_mmd_rests_while_accuracies_agree_and_depends_on_the_holdout_otherwise() -> None:
    plain = fit(recipe_with(Defense()), MEMBERS, HOLDOUT, 0)
    resting = fit(recipe_with(MixupMMD(0.0, 3.0, gap=1.0)), MEMBERS, HOLDOUT, 0)
    assert weight_bits(resting.model) == weight_bits(plain.model)
    one, other = (fit(recipe_with(MixupMMD(0.0, 3.0)), MEMBERS, part, 0) for part in (HOLDOUT, HOLDOUT[:15]))
    assert weight_bits(one.model) != weight_bits(other.model)


def test_mmd_refuses_what_it_cannot_compare_with() -> None:
    def refused(holdout: Examples | None, match: str, defense: Defense | None = None, **changes: int) -> None:
        recipe = recipe_with(defense or MixupMMD())
        recipe = Recipe(**{**vars(recipe), **changes})
        with pytest.raises(SettingError, match=match):
            fit(recipe, MEMBERS, holdout, 0)

    refused(None, "there are 0. Set holdout")
    refused(HOLDOUT[:4], "there are 4. Set holdout")
    refused(
        HOLDOUT.relabelled(torch.zeros(20, dtype=torch.long)), "has none of 2 classes that members have, first b, c"
    )
    refused(HOLDOUT, "set batch_size to that at least", batch_size=4)
    recipe = recipe_with(MixupMMD())
    assert len(MixupMMD().mistakes(recipe, 60, 2)) == 1
    assert MixupMMD().mistakes(recipe, 60, 20) == []
