"""DP-SGD: one update against gradients of one example at a time, and what its bound says."""

from __future__ import annotations

import functools
import math

import pytest
import torch

from membrane.core.errors import SettingError
from membrane.core.generators import torch_generator
from membrane.defenses import Defense
from membrane.defenses.dp_sgd import (
    DPSGD,
    VACUOUS,
    PoissonLoader,
    epsilon_of,
    private_optimizer,
    tpr_bound,
    updates,
)
from membrane.models import MLP, ResNet, logits_of
from membrane.regions import copy_state
from membrane.training import Recipe, Trained, fit
from tests.defenses.questions import HOLDOUT, MEMBERS, TEST
from tests.training.jobs import recipe, weight_bits

GROUP = ResNet((4, 4), (1, 1), norm="group")
opacus = pytest.mark.extras("opacus")


def private(defense: Defense, **changes: object) -> Recipe:
    return recipe(**{"model": GROUP, "epochs": 4, "batch_size": 12, "lr": 0.1, "defense": defense, **changes})


@functools.cache
def trained(noise: float = 1.0, clip: float = 1.0) -> Trained:
    return fit(private(DPSGD(noise, clip)), MEMBERS, HOLDOUT, 0)


def test_poisson_batches_hold_each_example_by_its_own_draw() -> None:
    loader = PoissonLoader(MEMBERS, 12)
    assert len(loader) == updates(60, 12) == 5
    drawn = [batch for seed in range(80) for batch in loader.epoch(torch_generator(seed))]
    sizes = torch.tensor([len(batch.y) for batch in drawn]).double()
    assert len(drawn) == 400
    assert sizes.mean() == pytest.approx(12, abs=4 * math.sqrt(60 * 0.2 * 0.8 / 400))
    assert sizes.var() == pytest.approx(60 * 0.2 * 0.8, rel=0.35)
    for batch in drawn[:20]:
        assert torch.equal(batch.y, MEMBERS.y[batch.index])
        assert len(set(batch.index.tolist())) == len(batch.index)
    counts = torch.bincount(torch.cat([batch.index for batch in drawn]), minlength=60)
    assert (counts - 80).abs().max() < 5 * math.sqrt(400 * 0.2 * 0.8)


def test_an_empty_batch_has_the_shape_of_one() -> None:
    (batch,) = PoissonLoader(MEMBERS[:1], 1).epoch(torch_generator(0))
    assert batch.x.shape == (1, 1, 4, 4)
    empty = next(b for s in range(500) for b in PoissonLoader(MEMBERS[:6], 2).epoch(torch_generator(s)) if not len(b.y))
    assert empty.x.shape == (0, 1, 4, 4)


def test_the_bound_at_its_ends() -> None:
    assert tpr_bound(0, 1e-5, 0.001) == pytest.approx(0.00101)
    assert tpr_bound(math.log(2), 0, 0.2) == pytest.approx(0.4)
    assert tpr_bound(math.log(4), 0, 0.5) == pytest.approx(1 - 0.25 * 0.5)
    assert tpr_bound(800, 0, 0.001) == 1
    assert tpr_bound(VACUOUS, 0, 0.001) > 0.99999999
    assert epsilon_of(0.0, 0.1, 10, 1e-5) == math.inf


def test_says_what_stands_in_the_way() -> None:
    found = DPSGD(delta=0.02).mistakes(recipe(compile=True, trainable=("head",), lora=2), 60, 0)
    told = "\n".join(found)
    for words in ("set compile = false", "set lora = 0", "for 60 members it must be"):
        assert words in told


def test_batch_norm_is_refused_before_training_with_the_fix() -> None:
    (found,) = DPSGD().data_mistakes(recipe(), MEMBERS, None)
    assert 'model = { name = "resnet", norm = "group" }, ResNet(norm="group") in Python' in found
    for plan in (private(DPSGD()), recipe(model=MLP((8,)))):
        assert DPSGD().data_mistakes(plan, MEMBERS, None) == []


def test_without_opacus_the_command_to_install_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"dp_sgd needs Opacus: pip install 'membrane\[dp\]'"):
        fit(private(DPSGD()), MEMBERS, None, 0)


@opacus
def test_one_update_is_the_mean_of_clipped_gradients_one_by_one() -> None:
    clip, lr = 0.5, 0.1
    plan = private(DPSGD(0.0, clip), epochs=1, batch_size=60, momentum=0.0, weight_decay=0.0, lr=lr)  # q = 1: all
    done = fit(plan, MEMBERS, None, 0)
    model = GROUP.build(MEMBERS, torch_generator(0, "weights"))
    model.normalize.mean.fill_(0.5)  # type: ignore[union-attr, operator]
    model.normalize.std.fill_(0.25)  # type: ignore[union-attr, operator]
    parameters = dict(model.named_parameters())
    total = {name: torch.zeros_like(value) for name, value in parameters.items()}
    clipped = 0
    for x, y in zip(MEMBERS.x, MEMBERS.y, strict=True):
        loss = torch.nn.functional.cross_entropy(model(x[None].float() / 255), y[None])
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
        clipped += norm > clip
        for name, gradient in zip(parameters, gradients, strict=True):
            total[name] += gradient * min(clip / norm, 1) / 60
    assert clipped > 0
    for name, value in done.model.named_parameters():
        torch.testing.assert_close(value, parameters[name] - lr * total[name], atol=1e-5, rtol=1e-4)


def per_example(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> list[list[torch.Tensor]]:
    """Gradient of each example, one by one."""
    parameters = list(model.parameters())
    return [
        list(torch.autograd.grad(torch.nn.functional.cross_entropy(model(a[None]), b[None]), parameters))
        for a, b in zip(x, y, strict=True)
    ]


def begun() -> torch.nn.Module:
    model = GROUP.build(MEMBERS, torch_generator(0, "weights"))
    model.normalize.mean.fill_(0.5)  # type: ignore[union-attr, operator]
    model.normalize.std.fill_(0.25)  # type: ignore[union-attr, operator]
    return model


def one_update(defense: DPSGD, **changes: object) -> torch.nn.Module:
    plain = {"epochs": 1, "batch_size": 60, "momentum": 0.0, "weight_decay": 0.0, "lr": 0.1}
    return fit(private(defense, **{**plain, **changes}), MEMBERS, None, 0).model


@opacus
def test_per_layer_clips_each_weight_to_its_share() -> None:
    clip, model = 0.3, begun()
    gradients = per_example(model, MEMBERS.x.float() / 255, MEMBERS.y)
    n = len(list(model.parameters()))
    bound, clipped = clip / math.sqrt(n), 0
    found = dict(one_update(DPSGD(0.0, clip, clipping="per_layer")).named_parameters())
    for i, (name, before) in enumerate(model.named_parameters()):
        norms = [float(one[i].norm()) for one in gradients]
        clipped += sum(norm > bound for norm in norms)
        total = sum(one[i] * min(bound / (norm + 1e-6), 1) for one, norm in zip(gradients, norms, strict=True))
        torch.testing.assert_close(found[name], before - 0.1 * total / 60, atol=1e-5, rtol=1e-4)
    assert 0 < clipped < 60 * n


@opacus
def test_views_are_averaged_before_they_are_clipped() -> None:
    clip, model = 0.3, begun()
    batch = next(PoissonLoader(MEMBERS, 60, augment=True, views=2).epoch(torch_generator(0, "order")))
    assert batch.index.tolist() == 2 * list(range(60))
    assert not torch.equal(batch.x[:60], batch.x[60:])
    gradients = per_example(model, batch.x, batch.y)
    means = [[(a + b) / 2 for a, b in zip(gradients[i], gradients[60 + i], strict=True)] for i in range(60)]
    found = one_update(DPSGD(0.0, clip, views=2), augment=True)
    norms = [math.sqrt(sum(float(g.square().sum()) for g in one)) for one in means]
    assert any(norm > clip for norm in norms)
    for i, (value, before) in enumerate(zip(found.parameters(), model.parameters(), strict=True)):
        total = sum(one[i] * min(clip / norm, 1) for one, norm in zip(means, norms, strict=True))
        torch.testing.assert_close(value, before - 0.1 * total / 60, atol=1e-5, rtol=1e-4)
    with pytest.raises(SettingError, match="2 views of an example differ by augmentation"):
        one_update(DPSGD(views=2))


@opacus
def test_adaptive_clipping_follows_the_median_by_the_papers_rule() -> None:
    model = torch.nn.Linear(2, 1, bias=False)
    settings = DPSGD(0.0, 1.0, clipping="adaptive")
    optimizer = private_optimizer(settings, torch.optim.SGD(model.parameters(), 1.0), 8.0, torch_generator(0))
    noise = torch.normal(0, 8 / 20, (4,), generator=torch_generator(1))
    for seed, (norms, drawn) in enumerate(((4 * [0.5] + 2 * [3.0], 6), ([0.5], 1), (12 * [9.0], 12), ([], 0))):
        bound = float(optimizer.max_grad_norm)
        optimizer.zero_grad()
        model.weight.grad_sample = torch.tensor(norms).reshape(-1, 1, 1) * torch.tensor([[[1.0, 0.0]]])
        optimizer.clip_and_accumulate()
        b = sum(norm <= bound for norm in norms)
        assert float(optimizer.unclipped_num) == b
        optimizer.unclipped_num = b + noise[seed]
        optimizer.update_max_grad_norm()
        fraction = (b - drawn / 2 + float(noise[seed])) / 8 + 0.5
        assert float(optimizer.max_grad_norm) == pytest.approx(bound * math.exp(-0.2 * (fraction - 0.5)), rel=1e-5)


@opacus
def test_adaptive_clipping_trains_empty_batches_included_and_shares_its_noise() -> None:
    done = fit(private(DPSGD(0.1, clipping="adaptive"), batch_size=2, epochs=2), MEMBERS[:20], None, 0)
    assert all(torch.isfinite(value).all() for value in done.model.parameters())
    (found,) = DPSGD(1.3, clipping="adaptive").mistakes(private(DPSGD()), 60, 0)
    assert "it must be below 1.2" in found
    same = [DPSGD(1.0, clipping=kind).spent(private(DPSGD()), 60)["epsilon"] for kind in ("flat", "adaptive")]
    assert same[0] == same[1], "the count's share is taken out of the gradients'"


@opacus
def test_noise_has_the_size_it_is_told() -> None:
    """One update with noise, less the same update without."""
    plans = (
        private(DPSGD(noise, 0.5), epochs=1, batch_size=60, momentum=0.0, weight_decay=0.0, lr=1.0) for noise in (0, 2)
    )
    still, noisy = (copy_state(fit(plan, MEMBERS, None, 0).model) for plan in plans)
    difference = torch.cat([(noisy[key] - still[key]).flatten() for key in noisy if "normalize" not in key])
    expected = 2 * 0.5 / 60  # noise times clip over the batch size
    assert float(difference.std()) == pytest.approx(expected, rel=4 / math.sqrt(2 * len(difference)))
    assert abs(float(difference.mean())) < 4 * expected / math.sqrt(len(difference))


@opacus
def test_trains_the_same_twice_and_leaves_a_plain_model() -> None:
    again = fit(private(DPSGD()), MEMBERS, HOLDOUT, 0)
    assert weight_bits(again.model) == weight_bits(trained().model)
    assert weight_bits(fit(private(DPSGD()), MEMBERS, HOLDOUT, 1).model) != weight_bits(trained().model)
    assert type(again.model) is type(fit(private(Defense()), MEMBERS, None, 0).model)
    assert not any(module._forward_hooks or module._backward_hooks for module in again.model.modules())
    assert not any(hasattr(parameter, "grad_sample") for parameter in again.model.parameters())
    assert again.trail.n_epochs == 4
    assert logits_of(again.model, TEST).shape == (200, 3)


@opacus
def test_learns_with_little_noise_and_members_are_less_sure_with_more() -> None:
    def members_loss(noise: float) -> float:
        done = fit(private(DPSGD(noise, 1.0), epochs=10), MEMBERS, None, 0)
        return torch.nn.functional.cross_entropy(logits_of(done.model, MEMBERS), MEMBERS.y).item()

    little, much = members_loss(0.01), members_loss(5.0)
    assert little < 0.9 * math.log(3)
    assert much > little + 0.1


@opacus
def test_tiny_batches_may_be_empty() -> None:
    done = fit(private(DPSGD(0.1), batch_size=2, epochs=2), MEMBERS[:20], None, 0)
    assert all(torch.isfinite(value).all() for value in done.model.parameters())


def slow_epsilon(noise: float, rate: float, n: int, delta: float) -> float:
    """By whole orders: Mironov et al. 2019, arXiv:1908.10530, section 3.3; Canonne et al. 2020, arXiv:2004.00010."""
    found = []
    for order in range(2, 64):
        terms = [
            math.comb(order, k) * (1 - rate) ** (order - k) * rate**k * math.exp(min(k * (k - 1) / 2 / noise**2, 600))
            for k in range(order + 1)
        ]
        renyi = n * math.log(sum(terms)) / (order - 1)
        found.append(renyi + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1))
    return min(found)


@opacus
def test_epsilon_is_the_accountants_and_called_vacuous_where_it_is() -> None:
    for noise, rate, n in ((1.1, 256 / 60_000, 14_040), (2.0, 0.05, 200), (10.0, 1.0, 50)):
        found, by_hand = epsilon_of(noise, rate, n, 1e-5), slow_epsilon(noise, rate, n, 1e-5)
        assert 0.95 * by_hand < found <= by_hand + 1e-6, "it tries orders between the whole ones, too"
    facts = DPSGD(1.0).finish(trained(), torch_generator(0)).facts
    assert 0 < facts["epsilon"] < VACUOUS
    assert facts["vacuous"] is False
    assert facts["updates"] == 20
    assert facts["tpr_bound"] == pytest.approx(tpr_bound(facts["epsilon"], 1e-5, 0.001))
    heuristic = DPSGD(0.00625).spent(private(DPSGD()), 50_000)
    assert heuristic["epsilon"] > 1_000
    assert heuristic["vacuous"] is True
    assert heuristic["tpr_bound"] == 1
    assert DPSGD(0.0).spent(private(DPSGD()), 50_000)["epsilon"] is None


@opacus
def test_normalization_does_not_look_at_the_members() -> None:
    state = copy_state(trained().model)
    assert state["normalize.mean"].tolist() == [0.5]
    assert state["normalize.std"].tolist() == [0.25]


@opacus
def test_refuses_batch_norm_wherever_it_comes_from() -> None:
    with pytest.raises(SettingError, match="BatchNorm mixes examples"):
        fit(private(DPSGD(), model=ResNet((4, 4), (1, 1))), MEMBERS, None, 0)
    features = fit(private(DPSGD(), model=MLP((8,)), batch_size=20, epochs=1), MEMBERS, None, 0)
    assert features.trail.n_epochs == 1
