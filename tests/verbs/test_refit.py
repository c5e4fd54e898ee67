from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import membrane
from membrane.core import MembraneError, ReleaseError
from membrane.core.generators import torch_generator
from membrane.data import Examples
from membrane.models import logits_of
from membrane.regions import Trail, copy_state
from membrane.regions.trail import kept_epochs
from tests.small import RECIPE, trained

HOW = membrane.OutOfFoldRefit(("stage3", "head"), first=1, last=3, folds=2, fork_epochs=1, epochs=2, lr=0.03)


def own_trail() -> Trail:
    trail = copy.deepcopy(trained().trail)
    trail.released = None
    return trail


def refitted(trail: Trail, how: membrane.OutOfFoldRefit = HOW, *, force: bool = False) -> membrane.Refitted:
    members = trained().members
    data = TensorDataset(members.x.float() / 255, members.y)
    return membrane.refit(trained().model, trail, data, how, batch_size=RECIPE.batch_size, force=force)


def test_it_is_the_defense_on_a_network_of_ones_own() -> None:
    before, trail = copy_state(trained().model), own_trail()
    result = refitted(trail)
    assert all(torch.equal(value, before[key]) for key, value in copy_state(trained().model).items())
    assert type(result.model) is type(trained().model)
    assert not result.model.training
    by_hand = HOW.finish(trained(), torch_generator(0, "refit"))
    assert result.out_of_fold_accuracy == by_hand.facts["out_of_fold_accuracy"]
    expected = copy_state(by_hand.model)
    for key, value in copy_state(result.model).items():
        torch.testing.assert_close(value, expected[key], rtol=0, atol=1e-3)  # pixels come as floats here
    with pytest.raises(ReleaseError, match="already produced a different release"):
        refitted(trail, membrane.OutOfFoldRefit(first=2, last=3, folds=2))


def test_any_module_will_do() -> None:
    generator = torch_generator(0)
    x, y = torch.randn(300, 6, generator=generator), torch.arange(300) % 3
    x += 2 * torch.nn.functional.one_hot(y, 6)
    net = nn.Sequential(nn.Sequential(nn.Linear(6, 64), nn.Tanh()), nn.Linear(64, 3))
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    trail = membrane.Trail(net, optimizer=optimizer)
    for _epoch in range(6):
        for rows in torch.randperm(200, generator=generator).split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
        trail.snapshot()
    how = membrane.OutOfFoldRefit(first=1, last=3, folds=4, fork_epochs=3, epochs=10, lr=0.1, weight_decay=0.0)
    result = membrane.refit(net, trail, (x[:200], y[:200]), how, batch_size=50)
    right = (logits_of(result.model, Examples(x[200:], y[200:], ("a", "b", "c"))).argmax(1) == y[200:]).double().mean()
    assert right > 0.7
    assert 0.5 < result.out_of_fold_accuracy < 1
    assert result.seconds > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"first": 1, "last": 99}, "no window 1 to 99"),
        ({"folds": 400}, "too few for 400 folds"),
        ({"forked": ("stagge3",)}, "Did you mean 'stage3'"),
    ],
)
def test_what_does_not_fit_is_said_before_training_and_leaves_the_trail_alone(
    change: dict[str, object], words: str
) -> None:
    trail, how = own_trail(), membrane.OutOfFoldRefit(**{**vars(HOW), **change})  # type: ignore[arg-type]
    with pytest.raises(MembraneError, match=words):
        refitted(trail, how)
    assert trail.released is None


def test_which_windows_there_are_is_for_the_trail_to_say() -> None:
    """A thinned trail of a whole training keeps other epochs than one that ends with the window."""
    whole = trained().trail
    keep = 6
    kept = kept_epochs(whole.n_epochs, keep)
    stopped = kept_epochs(kept[-2] + 1, keep)
    there, gone = kept[-3] + 1, next(one + 1 for one in stopped[:-1] if one not in kept)
    tensors = {name: value for name, value in whole.tensors().items() if int(name.split("/")[1]) in kept}
    thin = Trail.from_tensors(tensors, whole.n_epochs)
    thin.keep, thin._last = keep, whole._last
    how = {"folds": 2, "fork_epochs": 1, "epochs": 1, "last": kept[-2]}
    assert refitted(thin, membrane.OutOfFoldRefit(first=there, **how)).seconds > 0
    thin.released = None
    with pytest.raises(MembraneError, match="nearest window"):
        refitted(thin, membrane.OutOfFoldRefit(first=gone, **how))
    assert thin.released is None


def test_a_training_that_fails_has_released_nothing() -> None:
    trail = own_trail()
    with pytest.raises(MembraneError):
        refitted(trail, membrane.OutOfFoldRefit(first=1, last=3, folds=2, fork_epochs=1, epochs=2, lr=1e30))
    assert trail.released is None
    assert refitted(trail).model is not trained().model


def test_a_trail_of_another_network_is_refused() -> None:
    with pytest.raises(MembraneError, match="belongs to another network"):
        membrane.refit(nn.Linear(4, 2), own_trail(), (torch.zeros(9, 4), torch.arange(9) % 2), HOW)
