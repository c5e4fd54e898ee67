from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from membrane.core import Store
from membrane.core.errors import ModelError, SettingError, StoreError
from membrane.core.generators import torch_generator
from membrane.data.loader import Loader
from membrane.models import MLP, VGG11, ResNet, ViT
from membrane.regions import copy_state, partition
from membrane.training import Recipe, Trained, fit, train_fleet, train_model
from membrane.training.check import training_mistakes
from membrane.training.lora import LowRank, linear_weights
from tests.training.jobs import examples, recipe, small_recipe, task, weight_bits

MEMBERS, HOLDOUT = examples(60), examples(20, seed=1)
DEEP = ResNet((4, 4, 4), (1, 1, 1))
VIT = ViT(patch=2, width=6, depth=2, heads=2)


def trained(settings: Recipe, seed: int = 0) -> Trained:
    return fit(settings, MEMBERS, HOLDOUT, seed)


def begun(settings: Recipe, seed: int = 0) -> nn.Module:
    return settings.model.build(MEMBERS, torch_generator(seed, "weights"))


def moved(settings: Recipe) -> set[str]:
    """Names of weights and buffers that training changed, by a bit or more."""
    before, after = copy_state(begun(settings)), copy_state(trained(settings).model)
    return {key for key in before if not torch.equal(before[key], after[key])}


@pytest.mark.parametrize("trainable", [("head",), ("stem",), ("stage2", "head")])
def test_what_is_not_trainable_stays_to_the_bit_statistics_included(trainable: tuple[str, ...]) -> None:
    settings = recipe(model=DEEP, trainable=trainable)
    cut = partition(begun(settings), MEMBERS.x[:2].float())
    inside = cut.keys(trainable) - {"normalize.mean", "normalize.std"}
    assert moved(settings) == inside


def test_training_every_region_by_name_is_training_the_whole_to_the_bit() -> None:
    names = partition(begun(recipe(model=DEEP)), MEMBERS.x[:2].float()).names
    whole, named = (trained(recipe(model=DEEP, trainable=one)) for one in (None, names))
    assert weight_bits(whole.model) == weight_bits(named.model)


def test_the_trail_of_a_head_alone_holds_the_rest_as_it_began() -> None:
    settings = recipe(model=DEEP, trainable=("head",))
    done, before = trained(settings), copy_state(begun(settings))
    for key, value in done.trail.window(0, 2).items():
        if not key.startswith("head"):
            torch.testing.assert_close(value, before[key].float(), rtol=1e-6, atol=1e-7)


def test_a_trained_part_is_thawed_and_has_no_hooks() -> None:
    model = trained(recipe(model=DEEP, trainable=("head",))).model
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(("rank", "trainable"), [(1, ("head",)), (2, ()), (99, ("head",))])
def test_adapters_move_linear_layers_by_their_rank_and_nothing_else(rank: int, trainable: tuple[str, ...]) -> None:
    settings = recipe(model=VIT, trainable=trainable, lora=rank)
    before, model = copy_state(begun(settings)), trained(settings).model
    assert type(model) is type(begun(settings))
    after = copy_state(model)
    assert after.keys() == before.keys()
    linear = {f"{name}.weight" for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    in_full = {key for key in before if key.startswith("head")} if trainable else set()
    assert moved(settings) <= linear | in_full
    for key in linear - in_full:
        change = (after[key] - before[key]).double()
        singular = torch.linalg.svdvals(change)
        assert singular[0] > 1e-4, key
        assert singular[rank:].sum() < 1e-5 * singular[0] + 1e-6, key


class Beside(nn.Module):
    """The paper's form: the frozen matrix, and the product of two thin ones beside it."""

    def __init__(self, layer: nn.Linear, down: torch.Tensor, up: torch.Tensor) -> None:
        super().__init__()
        self.layer, self.down, self.up = layer.requires_grad_(False), nn.Parameter(down), nn.Parameter(up)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + F.linear(F.linear(x, self.down), self.up)


def test_merged_after_every_update_equals_kept_beside_the_frozen_matrix() -> None:
    generator = torch_generator(0)
    ours = MLP((8,)).build(MEMBERS, generator).double()
    weights = linear_weights(ours, set(ours.state_dict()))
    assert len(weights) == 2
    for parameter in ours.parameters():
        parameter.requires_grad_(False)
    adapters = LowRank(weights, 2, generator)
    theirs = MLP((8,)).build(MEMBERS, torch_generator(0)).double()
    down, up = ([p.detach().clone() for p in half] for half in (adapters.parameters[:2], adapters.parameters[2:]))
    for parameter in theirs.parameters():
        parameter.requires_grad_(False)
    theirs.hidden1[0] = Beside(theirs.hidden1[0], down[0], up[0])
    theirs.head = Beside(theirs.head, down[1], up[1])
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-2, "nesterov": True}
    optimizers = [
        torch.optim.SGD(adapters.parameters, **settings),
        torch.optim.SGD([p for p in theirs.parameters() if p.requires_grad], **settings),
    ]
    adapters.follow(optimizers[0])
    for _ in range(3):
        for batch in Loader(MEMBERS, 20).epoch(torch_generator(0, "order")):
            for net, optimizer in zip((ours, theirs), optimizers, strict=True):
                optimizer.zero_grad()
                F.cross_entropy(net(batch.x.double()), batch.y).backward()
                optimizer.step()
    x = MEMBERS.x.double() / 255
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-9, atol=1e-9)
    assert (ours(x) - MLP((8,)).build(MEMBERS, torch_generator(0)).double()(x)).abs().max() > 0.1


def start_file(folder: Path, n_classes: int = 3) -> str:
    before = fit(small_recipe(), examples(60, seed=5, n_classes=n_classes), None, 3).model
    save_file(before.state_dict(), folder / "start.safetensors")
    return str(folder / "start.safetensors")


def test_a_training_begins_from_the_file(tmp_path: Path) -> None:
    path = start_file(tmp_path)
    almost = trained(small_recipe(start=path, lr=1e-12)).model
    fresh = trained(small_recipe(lr=1e-12)).model
    from safetensors.torch import load_file

    begun = load_file(path)
    for key, value in copy_state(almost).items():
        torch.testing.assert_close(value, begun[key], rtol=1e-5, atol=1e-7)
    assert weight_bits(almost) != weight_bits(fresh)


def test_fine_tuning_a_new_head_alone_keeps_the_rest_of_the_file(tmp_path: Path) -> None:
    path = start_file(tmp_path, n_classes=4)
    done = trained(small_recipe(start=path, trainable=("head",)))
    from safetensors.torch import load_file

    begun, after = load_file(path), copy_state(done.model)
    assert after["head.weight"].shape == (3, 8)
    assert all(torch.equal(after[key], begun[key]) for key in after if not key.startswith("head"))


def test_the_key_of_a_training_covers_the_start_by_its_content_and_the_part_by_its_names(tmp_path: Path) -> None:
    path = start_file(tmp_path)
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(Path(path).read_bytes())
    plain = small_recipe().training_settings()
    assert not {"start", "trainable", "lora"} & set(plain)
    first = small_recipe(start=path).training_settings()
    assert first["start"] == hashlib.sha256(copy.read_bytes()).hexdigest()
    assert first == small_recipe(start=str(copy)).training_settings()
    copy.write_bytes(copy.read_bytes()[:-1] + b"\1")
    assert first != small_recipe(start=str(copy)).training_settings()
    changes = ({"trainable": ("head",)}, {"trainable": ("head",), "lora": 1}, {"trainable": (), "lora": 1})
    keys = [small_recipe(**change).training_settings() for change in changes]
    assert all(a != b for i, a in enumerate([plain, *keys]) for b in keys[i:])


def test_a_fleet_reads_a_fine_tuned_model_back_to_the_bit(tmp_path: Path) -> None:
    settings = recipe(model=VIT, start=None, trainable=("head",), lora=1)
    store = Store(tmp_path / "store")
    train_fleet(settings, task(), store, seed=0, rows=[0])
    again = train_model(settings, task(), store, 0, 0).model
    other = train_model(settings, task(), Store(tmp_path / "other"), 0, 0).model
    assert weight_bits(again) == weight_bits(other)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lora": 2}, "lora adapts what is not trained in full"),
        ({"lora": -1}, "lora is -1; it must be 0 or more"),
        ({"trainable": ()}, "nothing would be trained"),
    ],
)
def test_parts_that_make_no_sense_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        small_recipe(**settings)


def test_what_only_the_network_can_tell_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"no region is called 'haed'. Did you mean 'head'"):
        trained(small_recipe(trainable=("haed",)))
    with pytest.raises(SettingError, match="no linear layer lies in stem, stage1, stage2, stage3"):
        trained(recipe(model=DEEP, trainable=("head",), lora=2))
    with pytest.raises(StoreError, match="cannot read"):
        small_recipe(start=str(tmp_path / "none")).training_settings()
    with pytest.raises(ModelError, match="belong to another network"):
        trained(recipe(start=start_file(tmp_path)))


def test_a_check_finds_them_too(tmp_path: Path) -> None:
    assert training_mistakes(recipe(model=VIT, trainable=("head",), lora=1), task()) == []
    for settings, said in (
        (small_recipe(trainable=("haed",)), "no region is called 'haed'"),
        (recipe(model=DEEP, trainable=("head",), lora=2), "no linear layer lies in"),
        (small_recipe(start=str(tmp_path / "none")), "cannot read"),
        (recipe(start=start_file(tmp_path)), "belong to another network"),
    ):
        (found,) = training_mistakes(settings, task())
        assert said in found


@pytest.mark.gpu
@pytest.mark.parametrize("settings", [{}, {"trainable": ("head",)}, {"trainable": ("head",), "lora": 2}], ids=str)
def test_on_cuda_as_on_the_cpu(settings: dict[str, object]) -> None:
    here, there = (fit(recipe(model=VIT, **settings), MEMBERS, HOLDOUT, 0, torch.device(on)) for on in ("cpu", "cuda"))
    after = copy_state(there.model)
    for key, value in copy_state(here.model).items():
        torch.testing.assert_close(after[key], value, rtol=1e-2, atol=1e-3)


@pytest.mark.gpu
def test_dropout_on_cuda_follows_the_seed_and_leaves_the_global_stream_alone() -> None:
    settings, cuda = recipe(model=VGG11((4, 4), (1, 1), hidden=8)), torch.device("cuda")
    before = torch.cuda.get_rng_state()
    first = fit(settings, MEMBERS, HOLDOUT, 0, cuda)
    assert torch.equal(torch.cuda.get_rng_state(), before)
    torch.rand(5, device=cuda)
    again = fit(settings, MEMBERS, HOLDOUT, 0, cuda)
    for key, value in copy_state(first.model).items():
        torch.testing.assert_close(copy_state(again.model)[key], value, rtol=1e-3, atol=1e-4)


def test_dropout_follows_the_seed_and_leaves_the_global_stream_alone() -> None:
    settings = recipe(model=VGG11((4, 4), (1, 1), hidden=8))
    before = torch.get_rng_state()
    first = trained(settings)
    torch.rand(5)
    assert weight_bits(first.model) == weight_bits(trained(settings).model)
    torch.set_rng_state(before)
    trained(settings)
    assert torch.equal(torch.get_rng_state(), before)
