from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from membrane.core.errors import ModelError, SettingError
from membrane.core.generators import torch_generator
from membrane.data.loader import flip_and_crop
from membrane.regions import (
    average,
    copy_state,
    frozen,
    load_state,
    mix,
    needs_recalibration,
    partition,
    random_channels,
    recalibrate,
    swap,
)
from tests.regions.nets import FEATURES, NETS, Net, Tied, deep, made

nets = pytest.mark.parametrize("net", NETS, ids=str)
BY_NAME = {net.name: net for net in NETS}


def two_states(net: Net) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    a = copy_state(made(net))
    generator = torch_generator(9)
    b = {
        key: torch.randn(value.shape, generator=generator) if value.is_floating_point() else value + 5
        for key, value in a.items()
    }
    return a, b


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[key].dtype == b[key].dtype and torch.equal(a[key], b[key]) for key in a)


@nets
def test_a_state_survives_a_round_trip_and_is_a_copy(net: Net) -> None:
    model = made(net)
    state, other = copy_state(model), two_states(net)[1]
    load_state(model, other)
    assert same(copy_state(model), other)
    assert not any(torch.equal(state[key], other[key]) for key in state)
    load_state(model, state)
    assert same(copy_state(model), state)


def test_tied_weights_stay_tied() -> None:
    model = Tied()
    load_state(model, {key: torch.full_like(value, 3) for key, value in copy_state(model).items()})
    assert model.decode.weight is model.encode.weight
    assert (model.decode.weight == 3).all()


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_of_another_network_are_refused_and_nothing_is_loaded(change: str) -> None:
    model = deep(3)()
    before = copy_state(model)
    state = {key: value + 1 for key, value in before.items()}
    if change == "missing":
        del state["2.bias"]
    elif change == "extra":
        state["9.bias"] = torch.zeros(2)
    else:
        state["2.bias"] = torch.zeros(2)
    with pytest.raises(ModelError, match=r"1 names or shapes differ, first \['[29]\.bias'\]"):
        load_state(model, state)
    assert same(copy_state(model), before)


@nets
def test_a_swap_followed_by_a_swap_back_is_bit_exact(net: Net) -> None:
    a, b = two_states(net)
    cut = partition(made(net), net.x)
    for name in cut.names:
        keys = cut.keys([name])
        c, d = swap(a, b, keys)
        assert all(torch.equal(c[key], (b if key in keys else a)[key]) for key in a)
        assert all(torch.equal(d[key], (a if key in keys else b)[key]) for key in b)
        back = swap(c, d, keys)
        assert same(back[0], a)
        assert same(back[1], b)


@nets
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_ends_of_a_mix_are_bit_exact(net: Net, dtype: torch.dtype) -> None:
    a, b = (
        {key: (value / 3).to(dtype) if value.is_floating_point() else value for key, value in state.items()}
        for state in two_states(net)
    )
    assert same(mix(a, b, 1.0, a), a)
    floats = {key for key in a if a[key].is_floating_point()}
    assert same(mix(a, b, 0.0, a), {key: (b if key in floats else a)[key] for key in a})
    by_key = {key: 1.0 if i % 2 else 0.0 for i, key in enumerate(a)}
    mixed = mix(a, b, by_key, a)
    assert all(torch.equal(mixed[key], (a if by_key[key] else b)[key]) for key in floats)


def test_a_mix_equals_the_hand_computed_one() -> None:
    a = {
        "w": torch.tensor([1.0, 2.0]),
        "x": torch.tensor([1.0]),
        "n": torch.tensor(3),
        "d": torch.tensor([1.0]).double(),
    }
    b = {
        "w": torch.tensor([5.0, 0.0]),
        "x": torch.tensor([9.0]),
        "n": torch.tensor(8),
        "d": torch.tensor([2.0]).double(),
    }
    mixed = mix(a, b, 0.75, ["w", "n", "d"])
    assert mixed["w"].tolist() == [2.0, 1.5]
    assert mixed["x"].tolist() == [1.0], "not among the keys"
    assert mixed["n"].item() == 3, "integers stay"
    assert mixed["d"].item() == 1.25
    assert mix(a, b, {"d": 0.3}, ["d"])["d"].item() == 0.3 * 1 + 0.7 * 2
    per_channel = mix(a, b, {"w": torch.tensor([1.0, 0.5])}, ["w"])
    assert per_channel["w"].tolist() == [1.0, 1.0]
    assert a["w"].tolist() == [1.0, 2.0], "operands are left alone"


def test_an_unused_end_may_hold_anything() -> None:
    a, b = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([torch.inf, torch.nan])}
    assert mix(a, b, 1.0, ["w"])["w"].tolist() == [1.0, 2.0]
    assert mix(b, a, 0.0, ["w"])["w"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), torch.tensor([0.5, 2.0])])
def test_shares_outside_zero_to_one_are_refused(share: float | Tensor) -> None:
    a = {"w": torch.tensor([1.0, 2.0])}
    with pytest.raises(SettingError, match="w: the share to keep is"):
        mix(a, a, {"w": share}, ["w"])


def test_an_average_is_the_mean_with_the_integers_of_the_first() -> None:
    states = [two_states(BY_NAME["resnet"])[0], *(two_states(BY_NAME["resnet"]))]
    mean = average(states)
    for key, value in mean.items():
        if value.is_floating_point():
            expected = torch.stack([state[key].double() for state in states]).mean(0)
            torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-7)
            assert value.dtype == states[0][key].dtype
        else:
            assert torch.equal(value, states[0][key])
    assert same(average(states[:1]), states[0])
    with pytest.raises(SettingError, match="no weights to average"):
        average([])


def batchnorm_net() -> nn.Module:
    net = nn.Sequential()
    for i, affine in enumerate((True, False, True, True)):
        net.add_module(f"block{i}", nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6, affine=affine), nn.Dropout(0.3)))
    return net


def train_some(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, *, set_to_none: bool = True) -> None:
    for i in range(steps):
        model.train()
        optimizer.zero_grad(set_to_none=set_to_none)
        x = torch.randn(16, 6, generator=torch_generator(i))
        model(x).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("regions", [("block0",), ("block1", "block2"), ("block0", "block1", "block2", "block3")])
def test_frozen_regions_do_not_move_and_the_rest_does(regions: tuple[str, ...], set_to_none: bool) -> None:
    """Momentum and weight decay of earlier steps would move what merely has no new gradient."""
    model = batchnorm_net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    train_some(model, optimizer, 2)
    before = copy_state(model)
    cut = partition(model, FEATURES)
    with frozen(model, cut, regions):
        if len(regions) < 4:
            train_some(model, optimizer, 2, set_to_none=set_to_none)
        else:
            model.train()(FEATURES)
        assert all(module.training for module in model.modules()), "the mode that the user set"
    kept = cut.keys(regions)
    after = copy_state(model)
    for key in before:
        assert torch.equal(after[key], before[key]) is (key in kept), key
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
    train_some(model, optimizer, 1)
    assert not any(torch.equal(value, after[key]) for key, value in copy_state(model).items())


def test_what_was_frozen_by_the_user_stays_frozen() -> None:
    model = batchnorm_net()
    model.get_submodule("block1.0").weight.requires_grad_(False)
    with frozen(model, partition(model), ["block0", "block1"]):
        assert not any(parameter.requires_grad for parameter in model.block0.parameters())
    assert not model.get_submodule("block1.0").weight.requires_grad
    assert model.get_submodule("block1.0").bias.requires_grad


def test_freezing_ends_with_an_error_too() -> None:
    model = batchnorm_net().train()
    with pytest.raises(RuntimeError), frozen(model, partition(model), ["block0"]):
        model(torch.zeros(2, 5))
    with pytest.raises(RuntimeError), frozen(model, partition(model), ["block0"]):
        model.block0[1](torch.zeros(2, 5))
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.modules())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.93, 1.0])
def test_random_channels_are_the_right_number_in_every_layer(share: float) -> None:
    state = two_states(BY_NAME["resnet"])[0]
    shares = random_channels(state, share, torch_generator(0))
    assert shares.keys() == {key for key, value in state.items() if value.is_floating_point()}
    for key, keep in shares.items():
        n = len(state[key])
        assert set(keep.unique().tolist()) <= {0.0, 1.0}
        assert keep.shape == (n, *[1] * (state[key].ndim - 1))
        assert math.floor(share * n) <= int((keep == 0).sum()) <= math.ceil(share * n)
    edited = sum(int((keep.expand_as(state[key]) == 0).sum()) for key, keep in shares.items())
    total = sum(state[key].numel() for key in shares)
    assert edited / total == pytest.approx(share, abs=0.03)


def test_random_channels_follow_their_layer_and_the_generator() -> None:
    state = two_states(BY_NAME["resnet"])[0]
    first, again, other = (random_channels(state, 0.5, torch_generator(seed)) for seed in (0, 0, 1))
    assert same(first, again)
    assert not same(first, other)
    assert torch.equal(first["head.weight"][:, 0], first["head.bias"])
    assert torch.equal(first["stem.1.weight"], first["stem.1.running_mean"])
    assert len({tuple(keep.flatten().tolist()) for keep in first.values() if keep.shape[0] == 16}) > 3
    b = {key: value + 1 for key, value in state.items()}
    mixed = mix(state, b, first, first)
    assert torch.equal(
        mixed["head.weight"], torch.where(first["head.weight"] == 1, state["head.weight"], b["head.weight"])
    )


def statistics_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4, momentum=0.3),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(144, 5),
        nn.BatchNorm1d(5),
    )


def test_recalibrated_statistics_equal_directly_computed_ones() -> None:
    model, x = statistics_net(), torch.rand(60, 3, 8, 8, generator=torch_generator(0))
    with torch.no_grad():
        for layer in (model[1], model[5]):
            layer.running_mean.fill_(7)
            layer.running_var.fill_(9)
    recalibrate(model, x, batch_size=20)
    first, second = [], []
    for batch in x.split(20):
        hidden = model[0](batch)
        first.append((hidden.mean((0, 2, 3)), hidden.var((0, 2, 3))))
        centred = (hidden - hidden.mean((0, 2, 3), keepdim=True)) / (
            hidden.var((0, 2, 3), keepdim=True, correction=0) + model[1].eps
        ).sqrt()
        out = model[4](centred.flatten(1))  # no dropout
        second.append((out.mean(0), out.var(0)))
    for layer, found in ((model[1], first), (model[5], second)):
        torch.testing.assert_close(layer.running_mean, torch.stack([mean for mean, _ in found]).mean(0))
        torch.testing.assert_close(layer.running_var, torch.stack([var for _, var in found]).mean(0))
        assert layer.num_batches_tracked == 3


def test_recalibration_restores_everything_but_the_statistics() -> None:
    model, x = statistics_net().train(), torch.rand(10, 3, 8, 8, generator=torch_generator(0))
    model[5].eval()
    before, modes, rng = copy_state(model), [module.training for module in model.modules()], torch.get_rng_state()
    recalibrate(model, x)
    assert [layer.momentum for layer in (model[1], model[5])] == [0.3, 0.1]
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), rng)
    for key, value in copy_state(model).items():
        assert torch.equal(value, before[key]) is not ("running" in key or "num_batches" in key), key
    assert all(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(RuntimeError):
        recalibrate(model, torch.zeros(4, 3, 5, 5))
    assert [layer.momentum for layer in (model[1], model[5])] == [0.3, 0.1]
    assert [module.training for module in model.modules()] == modes


def test_recalibration_reads_pixels_as_training_does_and_can_be_trained_on() -> None:
    pixels = torch.randint(0, 256, (10, 3, 8, 8), dtype=torch.uint8, generator=torch_generator(0))
    models = [statistics_net() for _ in range(2)]
    load_state(models[1], copy_state(models[0]))
    recalibrate(models[0], pixels)
    recalibrate(models[1], pixels.float() / 255)
    assert same(copy_state(models[0]), copy_state(models[1]))
    models[0].train()(pixels.float() / 255).sum().backward()


@pytest.mark.parametrize(
    ("model", "needed"),
    [
        (nn.BatchNorm1d(6), True),
        (nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6)), False),
        (nn.BatchNorm1d(6, track_running_stats=False), False),
        (nn.GroupNorm(2, 6), False),
    ],
)
def test_only_running_statistics_need_it(model: nn.Module, needed: bool) -> None:
    assert needs_recalibration(model) is needed
    before = copy_state(model)
    recalibrate(model, FEATURES)
    assert same(copy_state(model), before) is not needed


def test_a_small_share_is_edited_as_often_as_it_should_be() -> None:
    """Rounding to the nearest would never touch a channel: the control of a small region would be no edit at all."""
    state = two_states(BY_NAME["resnet"])[0]
    weights = {key: value for key, value in state.items() if value.is_floating_point()}
    total = sum(value.numel() for value in weights.values())
    edited = [
        sum(int((keep == 0).sum()) * weights[key][0].numel() for key, keep in random_channels(state, 0.02, g).items())
        for g in (torch_generator(0, "draw", i) for i in range(200))
    ]
    assert sum(edited) / 200 / total == pytest.approx(0.02, rel=0.2)


def test_statistics_of_inputs_as_trained_are_recomputed_alike_every_time() -> None:
    x = torch.rand(40, 3, 8, 8, generator=torch_generator(0))
    net = statistics_net()
    plain, darker, shuffled, again = (copy.deepcopy(net) for _ in range(4))
    recalibrate(plain, x)
    recalibrate(darker, x, augment=lambda inputs, generator: inputs / 4)
    mean, bias = plain[1].running_mean, plain[0].bias.detach()
    torch.testing.assert_close(darker[1].running_mean - bias, (mean - bias) / 4)  # a border of zeros stays one
    for model in (shuffled, again):
        recalibrate(model, x, augment=flip_and_crop)
    assert torch.equal(shuffled[1].running_mean, again[1].running_mean)
    assert not torch.equal(shuffled[1].running_mean, plain[1].running_mean)


def test_complex_weights_are_refused() -> None:
    net = nn.Linear(2, 1)
    with pytest.raises(ModelError, match="complex numbers in 'weight'"):
        load_state(net, {key: value.to(torch.complex64) for key, value in net.state_dict().items()})
