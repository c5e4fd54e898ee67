from __future__ import annotations

import pytest
import torch
from torch import nn

from membrane.core.errors import ModelError, SettingError
from membrane.core.generators import torch_generator
from membrane.regions import copy_state, partition, unwrap
from tests.regions.nets import FEATURES, IMAGES, NETS, Net, OtherOrder, Tied, deep, made

nets = pytest.mark.parametrize("net", NETS, ids=str)


@nets
@pytest.mark.parametrize("sampled", [True, False], ids=["sampled", "registered"])
def test_every_parameter_and_buffer_is_in_exactly_one_region(net: Net, sampled: bool) -> None:
    model = made(net)
    cut = partition(model, net.x if sampled else None)
    keys = [key for region in cut.regions for key in region.keys]
    held = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    state = model.state_dict()
    assert len(keys) == len(set(keys)) == len(held)
    assert {state[key].data_ptr() for key in keys} == held


@nets
def test_sizes_add_up_and_numbers_fit(net: Net) -> None:
    model = made(net)
    cut = partition(model, net.x)
    state = dict(model.named_parameters())
    for region in cut.regions:
        assert region.n_parameters == sum(state[key].numel() for key in region.keys if key in state)
        assert region.keys
    assert cut.n_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert 1 <= len(cut.regions) <= 12
    assert len(set(cut.names)) == len(cut.names)
    if net.n_matrices >= 4:
        assert len(cut.regions) >= 4
        assert all(any(state[key].ndim >= 2 for key in region.keys if key in state) for region in cut.regions)
    assert sum(cut.share([name]) for name in cut.names) == pytest.approx(1)
    assert cut.share(cut.names) == 1
    assert cut.keys(cut.names) == set(copy_state(model))


@nets
def test_cutting_changes_nothing_in_the_model(net: Net) -> None:
    model = made(net).train()
    before, rng = copy_state(model), torch.get_rng_state()
    assert partition(model, net.x) == partition(model, net.x)
    assert all(torch.equal(value, before[key]) for key, value in copy_state(model).items())
    assert all(module.training for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), rng)


def test_hooks_and_modes_are_restored_after_an_error_too() -> None:
    model = deep(4)().train()
    with pytest.raises(ModelError, match=r"cannot take inputs of shape \(2, 5\)"):
        partition(model, torch.zeros(2, 5))
    assert all(module.training for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    "net", [net for net in NETS if net.name in ("resnet", "thirty_layers", "vit", "tied")], ids=str
)
def test_wrappers_leave_no_trace(net: Net) -> None:
    model = made(net)
    plain = partition(model, net.x)
    for wrapped in (
        nn.DataParallel(model),
        torch.compile(model, backend="eager"),
        torch.compile(nn.DataParallel(model), backend="eager"),
        nn.DataParallel(torch.compile(model, backend="eager")),
    ):
        assert unwrap(wrapped) is model
        assert partition(wrapped, net.x) == plain
        assert copy_state(wrapped).keys() == copy_state(model).keys()


def test_a_module_of_ones_own_that_holds_a_module_called_module_is_not_unwrapped() -> None:
    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(2, 2)

    mine = Mine()
    assert unwrap(mine) is mine
    assert set(copy_state(mine)) == {"module.weight", "module.bias"}


def test_regions_are_in_the_order_in_which_they_run() -> None:
    model = OtherOrder()
    assert partition(model, FEATURES).names == ("first", "layers.3", "layers.1", "layers.0", "layers.2")
    assert partition(model).names == ("layers.0", "layers.1", "layers.2", "layers.3", "first")


def test_lists_that_take_turns_are_cut_in_the_order_in_which_they_run() -> None:
    class Turns(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Linear(6, 6) for _ in range(4))
            self.between = nn.ModuleList([nn.Linear(6, 6)])
            self.head = nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.between[0](self.blocks[0](x))
            for block in self.blocks[1:]:
                x = block(x)
            return self.head(x)

    names = partition(Turns(), FEATURES).names
    assert names == ("blocks.0", "between", "blocks.1", "blocks.2", "blocks.3", "head")


def test_a_resnet_is_cut_into_its_stages() -> None:
    (net,) = (net for net in NETS if net.name == "resnet")
    cut = partition(made(net), net.x)
    assert cut.names == ("stem", "stage1", "stage2", "stage3", "stage4", "head")
    assert "normalize.mean" in cut.keys(["stem"])


def test_a_vit_is_cut_into_its_blocks_with_tokens_at_the_start() -> None:
    (net,) = (net for net in NETS if net.name == "vit")
    cut = partition(made(net), net.x)
    assert cut.names == ("embed", "blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4", "head")
    assert {"class_token", "position"} <= cut.keys(["embed"])


def test_tied_weights_belong_to_their_first_region() -> None:
    cut = partition(Tied(), FEATURES)
    assert cut.keys(["encode"]) == {"encode.weight", "encode.bias"}
    assert cut.keys(["head"]) == {"head.weight"}
    assert not any(key.startswith("decode") for name in cut.names for key in cut.keys([name]) if "weight" in key)


@pytest.mark.parametrize("depth", [13, 30, 100])
def test_deep_networks_are_bundled_evenly(depth: int) -> None:
    cut = partition(deep(depth)(), FEATURES)
    counts = [region.n_parameters // 42 for region in cut.regions]
    assert sum(counts) == depth
    assert len(counts) == 12
    assert max(counts) <= 2 * min(counts)
    at = [int(key.partition(".")[0]) for region in cut.regions for key in region.keys]
    assert at == sorted(at)


def test_renaming_changes_names_and_nothing_else() -> None:
    plain, renamed = nn.Sequential(), nn.Sequential()
    for i, size in enumerate((6, 6, 20, 6)):
        layer = nn.Linear(size, (6, 20, 6, 3)[i])
        plain.add_module(f"layer{i}", layer)
        renamed.add_module("qxz_"[i], layer)
    cuts = [partition(model, FEATURES) for model in (plain, renamed)]
    assert [region.n_parameters for region in cuts[0].regions] == [region.n_parameters for region in cuts[1].regions]
    assert cuts[1].names == ("q", "x", "z", "_")


def test_an_unknown_region_is_named() -> None:
    cut = partition(made(NETS[1]), IMAGES)
    with pytest.raises(SettingError, match=r"no region is called 'stage9'. Did you mean 'stage"):
        cut.keys(["stem", "stage9"])


@pytest.mark.parametrize("model", [nn.ReLU(), nn.Sequential(), nn.BatchNorm1d(3, affine=False)])
def test_a_model_without_parameters_has_no_regions(model: nn.Module) -> None:
    with pytest.raises(ModelError, match="no parameters"):
        partition(model)


def test_random_structures_are_cut_without_loss() -> None:
    """Nested containers of any shape, with tied and direct parameters strewn in."""
    generator = torch_generator(5)

    def draw(n: int) -> int:
        return int(torch.randint(n, (1,), generator=generator))

    def grow(depth: int, layers: list[nn.Linear]) -> nn.Module:
        kind = draw(6) if depth < 4 else draw(3)
        if kind == 0 and layers:
            return layers[draw(len(layers))]  # shared
        if kind == 1:
            return nn.Sequential(nn.BatchNorm1d(6, affine=bool(draw(2))), nn.ReLU())
        if kind < 3:
            layers.append(nn.Linear(6, 6, bias=bool(draw(2))))
            if draw(4) == 0:
                layers[-1].weight = layers[0].weight
            return layers[-1]
        block = nn.Sequential(*(grow(depth + 1, layers) for _ in range(1 + draw(5))))
        if draw(2):
            block.extra = nn.Parameter(torch.zeros(6, 6) if draw(2) else torch.zeros(6))
        return block

    for _ in range(150):
        layers = [nn.Linear(6, 6)]
        model = nn.Sequential(layers[0], *(grow(0, layers) for _ in range(1 + draw(4))))
        for sample in (None, FEATURES):
            cut = partition(model, sample)
            keys = [key for region in cut.regions for key in region.keys]
            held = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
            assert len(keys) == len(set(keys)) == len(held)
            assert cut.n_parameters == sum(parameter.numel() for parameter in model.parameters())
            n_matrices = len({id(layer.weight) for layer in layers if layer in set(model.modules())})
            assert min(4, n_matrices) <= len(cut.regions) <= 12
