"""Training on by strangers, against Adam written out; what comes back is what an edit only hid."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from membrane.attacks import Attack, Lineup, Midpoint, Reveal
from membrane.core import Store
from membrane.core.errors import ModelError, SettingError
from membrane.core.generators import torch_generator
from membrane.core.values import SIGNAL_KINDS
from membrane.data import Digits, make_task
from membrane.data.loader import Loader, as_inputs
from membrane.metrics import auc
from membrane.models import MLP, ResNet, signals_of
from membrane.pptp import RegionWindow
from membrane.readings import Revealed
from membrane.readings.revealed import by_kind
from membrane.regions import partition
from membrane.training import Defense, Finished, Recipe, Trained, train_fleet
from tests.readings.test_questions import examples


def network(kind: str) -> nn.Module:
    settings = ResNet((4, 8), (1, 1)) if kind == "images" else MLP((8, 8))
    return settings.build(examples(kind, 9, 0), torch_generator(0, "weights")).eval()


def by_hand(model: nn.Module, kind: str, reading: Revealed, generator: torch.Generator) -> nn.Module:
    """Adam's formulas on gradients by ``torch.autograd.grad``, defaults of its authors."""
    model = copy.deepcopy(model)
    weights = list(model.parameters())
    first, second = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    step = 0
    for _ in range(reading.epochs):
        for batch in Loader(examples(kind, 40, 2), reading.batch_size).epoch(generator):
            step += 1
            loss = -torch.log_softmax(model(batch.x), 1)[torch.arange(len(batch.y)), batch.y].mean()
            for i, gradient in enumerate(torch.autograd.grad(loss, weights)):
                first[i] = 0.9 * first[i] + 0.1 * gradient
                second[i] = 0.999 * second[i] + 0.001 * gradient**2
                mean, square = first[i] / (1 - 0.9**step), second[i] / (1 - 0.999**step)
                weights[i].data -= reading.lr * mean / (square.sqrt() + 1e-8)
    return model


@pytest.mark.parametrize("kind", ["images", "features"])
def test_training_on_is_adam_in_evaluation_mode(kind: str) -> None:
    reading, model = Revealed(epochs=3, lr=0.01, batch_size=16), network(kind)
    found = reading.trained_on(model, examples(kind, 40, 2), torch_generator(5)).state_dict()
    for key, value in by_hand(model, kind, reading, torch_generator(5)).state_dict().items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-4)


def test_signals_are_those_of_the_two_copies() -> None:
    reading, model, pool, strangers = (
        Revealed(epochs=2),
        network("images"),
        *(examples("images", n, n) for n in (9, 30)),
    )
    of_pool, of_strangers = reading(model, pool, strangers, torch_generator(3))
    generator = torch_generator(3)
    halves = torch.randperm(30, generator=generator).chunk(2)
    copies = [reading.trained_on(model, strangers[half], generator) for half in halves]
    signals, strange = by_kind(of_pool), by_kind(of_strangers)
    for kind in SIGNAL_KINDS:
        for i in (0, 1):
            np.testing.assert_array_equal(signals[kind][:, i], signals_of(copies[i], pool)[kind][:, 0])
            expected = signals_of(copies[i], strangers[halves[1 - i]])[kind]
            np.testing.assert_array_equal(strange[kind][halves[1 - i].numpy()], expected.repeat(2, axis=1))


def test_strangers_stay_strangers() -> None:
    """Labels that cannot be learnt, learnt by heart: the copy that reads them has not seen them."""
    strangers = examples("features", 60, 2)
    strangers = strangers.relabelled(torch.randint(0, 4, (60,), generator=torch_generator(0)))
    reading, model = Revealed(epochs=150, lr=0.03), network("features")
    _, found = reading(model, examples("features", 9, 1), strangers, torch_generator(3))
    known = reading.trained_on(model, strangers[torch.arange(30)], torch_generator(3))
    assert signals_of(known, strangers[torch.arange(30)]).loss.mean() < 0.5
    assert by_kind(found)["loss"].mean() > np.log(4)


def test_refitted_regions_are_new_and_the_others_stay() -> None:
    model = network("images")
    cut = partition(model, as_inputs(examples("images", 9, 0).x[:2]))
    keys = cut.keys([cut.names[-2], cut.names[-1]])
    refitted = Revealed(refit=(-1, len(cut.names) - 2)).trained_on(model, examples("images", 40, 2), torch_generator(0))
    before, after = model.state_dict(), refitted.state_dict()
    assert any(key.endswith("running_mean") for key in keys)
    assert not refitted.training
    for key, value in after.items():
        moved = not torch.equal(value, before[key])
        assert moved == (key in keys), key


def test_what_cannot_be_done_is_refused() -> None:
    pool, model = examples("features", 9, 1), network("features")
    with pytest.raises(ModelError, match="population of 4 or more"):
        Revealed()(model, pool, examples("features", 3, 2), torch_generator(0))
    with pytest.raises(SettingError, match="region 7; this network has"):
        Revealed(refit=(7,))(model, pool, examples("features", 40, 2), torch_generator(0))


class HiddenHead(Defense):
    """An edit that hides and forgets nothing: the last layer answers at random, all before it is as trained."""

    name = "hidden_head"

    def trained_as(self) -> Defense:
        return Defense()

    def finish(self, trained: Trained, generator: torch.Generator) -> Finished:
        model = copy.deepcopy(trained.model)
        head = model.get_submodule("head")
        assert isinstance(head, nn.Linear)
        with torch.no_grad():
            head.weight.normal_(std=0.1, generator=generator)
            head.bias.zero_()
        return Finished(model, {})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("digits"))


def areas(defense: Defense, store: Store, *attacks: Attack) -> list[float]:
    """AUC of each attack on four networks that learnt digits by heart, some under wrong labels; trained once."""
    task = make_task(Digits(test=297).load(), n_models=4, pool=300, holdout=0, canaries=60, seed=0)
    recipe = Recipe(model=MLP((64,)), epochs=40, batch_size=20, lr=0.05, keep=None).with_defense(defense)
    bank = train_fleet(recipe, task, store, seed=0, readings=[one for attack in attacks for one in attack.readings])
    lineup = Lineup(bank.pool, task.membership, task.pool.y.numpy(), bank.test)
    return [auc(attack.against_all(lineup).ravel(), task.membership.ravel()) for attack in attacks]


def test_a_refit_finds_what_an_edit_only_hid(store: Store) -> None:
    """Chance on the answers, a leak under a last layer that an attacker fitted anew."""
    refit = Reveal(refit=(-1,), epochs=20, lr=0.01, base=Midpoint())
    hidden, found = areas(HiddenHead(), store, Midpoint(), refit)
    assert abs(hidden - 0.5) < 0.06
    assert found > 0.6


def test_a_protected_fleet_shows_more_when_it_is_trained_on(store: Store) -> None:
    """The head from an early window hides what the rest still knows; a part of it, as training on shows."""
    (undefended,) = areas(Defense(), store, Midpoint())
    answers, revealed = areas(RegionWindow(("head",), 1, 3), store, Midpoint(), Reveal(base=Midpoint()))
    assert answers + 0.01 < revealed < undefended
