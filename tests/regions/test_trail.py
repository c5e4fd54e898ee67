from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from membrane.core.errors import ReleaseError, SettingError, StoreError, TrainingError
from membrane.core.generators import torch_generator
from membrane.core.store import write_tensors
from membrane.regions import Trail, mix
from tests.regions.nets import Tied


class Walker:
    """A model that takes a random step each epoch, its trail, and every state it was in."""

    def __init__(self, n_epochs: int, keep: int | None, model: nn.Module | None = None) -> None:
        self.model = model or nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        self.trail = Trail(self.model, keep)
        self.states: list[dict[str, Tensor]] = []
        generator = torch_generator(0)
        for _ in range(n_epochs):
            with torch.no_grad():
                for tensor in (*self.model.parameters(), *self.model.buffers()):
                    if tensor.is_floating_point():
                        tensor += torch.randn(tensor.shape, generator=generator)
                    else:
                        tensor += 1
            self.trail.snapshot()
            named = dict(self.model.named_parameters()) | dict(self.model.named_buffers())
            self.states.append(
                {key: value.detach().clone() for key, value in named.items() if value.is_floating_point()}
            )

    def mean(self, first: int, last: int) -> dict[str, Tensor]:
        window = self.states[first : last + 1]
        return {key: torch.stack([state[key].double() for state in window]).mean(0) for key in window[0]}


def close(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for key in a:
        torch.testing.assert_close(a[key].double(), b[key].double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("n_epochs", "keep"), [(1, None), (6, None), (9, 4), (30, 12), (30, 2)])
def test_every_window_equals_the_mean_of_the_snapshots(n_epochs: int, keep: int | None) -> None:
    walker = Walker(n_epochs, keep)
    assert walker.trail.n_epochs == n_epochs
    for first, last in walker.trail.windows:
        close(walker.trail.window(first, last), walker.mean(first, last))
    if keep is None:
        assert len(walker.trail.windows) == n_epochs * (n_epochs + 1) // 2


def test_with_the_optimizer_an_epoch_is_the_mean_of_its_updates_and_its_end_is_kept_too(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trail = Trail(model, keep=4, optimizer=optimizer)
    states: list[list[Tensor]] = []
    for epoch in range(6):
        states.append([])
        for _ in range(epoch + 1):
            optimizer.zero_grad()
            model(torch.randn(4, 3, generator=torch_generator(epoch))).square().sum().backward()
            optimizer.step()
            states[-1].append(model.weight.detach().clone())
        trail.snapshot()
    trail.save(tmp_path)
    for one in (trail, Trail.load(tmp_path)):
        for first, last in one.windows:
            means = torch.stack([torch.stack(epoch).mean(0) for epoch in states[first : last + 1]])
            torch.testing.assert_close(one.window(first, last)["weight"], means.mean(0), rtol=1e-6, atol=1e-6)
        for epoch in one.epochs:
            assert torch.equal(one.at(epoch)["weight"], states[epoch][-1])
        one.check(model)
    lost = next(epoch for epoch in range(6) if epoch not in trail.epochs)
    with pytest.raises(SettingError, match=rf"the weights after epoch {lost} were not kept; there are those after"):
        trail.at(lost)


def test_without_updates_the_end_of_an_epoch_is_its_window() -> None:
    walker = Walker(6, None)
    close(walker.trail.at(3), walker.mean(3, 3))
    with pytest.raises(SettingError, match="were not kept"):
        Walker(30, 3).trail.at(15)


def test_an_update_that_diverged_is_not_averaged_away() -> None:
    walker = Walker(2, None)
    with torch.no_grad():
        saved = walker.model[0].bias.clone()
        walker.model[0].bias[1] = torch.nan
        walker.trail.accumulate()
        walker.model[0].bias.copy_(saved)
        walker.trail.accumulate()
    with pytest.raises(TrainingError, match=r"after epoch 2 '0.bias' holds NaN or infinity"):
        walker.trail.snapshot()


def test_tied_weights_are_summed_once_and_wrappers_leave_no_trace() -> None:
    walker = Walker(3, None, Tied())
    assert set(walker.trail.window(0, 2)) == {name for name, _ in Tied().named_parameters()}
    model = nn.Linear(2, 2)
    trail = Trail(nn.DataParallel(model))
    trail.snapshot()
    trail.snapshot(model)
    trail.snapshot(torch.compile(model, backend="eager"))
    close(trail.window(0, 2), {"weight": model.weight.detach(), "bias": model.bias.detach()})


def test_kept_sums_do_not_move_with_the_model() -> None:
    model = nn.Linear(2, 2)
    trail = Trail(model)
    trail.snapshot()
    before = trail.window(0, 0)["weight"].clone()
    with torch.no_grad():
        model.weight.fill_(100)
    trail.snapshot()
    assert torch.equal(trail.window(0, 0)["weight"], before)


@pytest.mark.parametrize("keep", [2, 3, 5, 12])
def test_never_more_sums_than_asked_first_and_last_among_them_spread_by_logarithm(keep: int) -> None:
    model = nn.Linear(1, 1)
    trail = Trail(model, keep)
    for epoch in range(300):
        trail.snapshot()
        assert len(trail.epochs) == min(keep, epoch + 1)
        assert trail.epochs[0] == 0
        assert trail.epochs[-1] == epoch
    if keep < 5:
        return
    steps = [math.log((b + 1) / (a + 1)) for a, b in itertools.pairwise(trail.epochs) if b - a > 1]
    even = math.log(300) / (keep - 1)
    assert max(steps) < 3 * even
    assert min(steps) > even / 5
    late = sum(epoch >= 150 for epoch in trail.epochs)
    assert late <= keep / 2, "evenly spread would put half of them there"


def test_keeping_all_keeps_all() -> None:
    assert Walker(20, None).trail.epochs == tuple(range(20))


@pytest.mark.parametrize("keep", [1, 0, -3])
def test_a_trail_needs_two_sums(keep: int) -> None:
    with pytest.raises(SettingError, match=f"a trail of {keep} kept epochs"):
        Trail(nn.Linear(1, 1), keep)


def test_a_window_that_was_not_kept_is_refused_with_the_nearest() -> None:
    walker = Walker(30, 3)
    kept = walker.trail.epochs
    missing = next(epoch for epoch in range(2, 28) if epoch not in kept and epoch + 1 not in kept)
    with pytest.raises(SettingError, match=r"no kept sums around epochs .*; the nearest window is \d+ to \d+"):
        walker.trail.window(missing, missing)
    for window in ((0, 30), (-1, 2), (3, 2)):
        with pytest.raises(SettingError, match="no kept sums"):
            Walker(6, None).trail.window(*window)
    with pytest.raises(SettingError, match="the trail is empty"):
        Trail(nn.Linear(1, 1)).window(0, 0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_diverged_weights_are_refused_and_not_summed(bad: float) -> None:
    walker = Walker(2, None)
    with torch.no_grad():
        walker.model[0].bias[1] = bad
    with pytest.raises(TrainingError, match=r"after epoch 2 '0.bias' holds NaN or infinity"):
        walker.trail.snapshot()
    assert walker.trail.n_epochs == 2
    close(walker.trail.window(0, 1), walker.mean(0, 1))


def test_another_network_is_refused() -> None:
    trail = Walker(2, None).trail
    for other in (nn.Linear(3, 4), nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))):
        with pytest.raises(SettingError, match="parameters changed"):
            trail.snapshot(other)


def test_a_saved_trail_is_the_same_trail(tmp_path: Path) -> None:
    walker = Walker(9, 4)
    walker.trail.record_release("abc")
    walker.trail.save(tmp_path)
    loaded = Trail.load(tmp_path)
    assert (loaded.n_epochs, loaded.epochs, loaded.released) == (9, walker.trail.epochs, "abc")
    for first, last in walker.trail.windows:
        a, b = walker.trail.window(first, last), loaded.window(first, last)
        assert all(torch.equal(a[key], b[key]) for key in a)
    with pytest.raises(SettingError, match="has no model"):
        loaded.snapshot()
    loaded.snapshot(walker.model)
    assert loaded.n_epochs == 10
    close(
        loaded.window(0, 9),
        Walker(9, None).mean(0, 8) | {k: (v * 9 + walker.states[-1][k]) / 10 for k, v in walker.mean(0, 8).items()},
    )


def cut_short(folder: Path) -> None:
    path = folder / "trail.safetensors"
    path.write_bytes(path.read_bytes()[:-3])


def flip_a_bit(folder: Path) -> None:
    path = folder / "trail.safetensors"
    content = bytearray(path.read_bytes())
    content[-2] ^= 64
    path.write_bytes(content)


def save_with_torch(folder: Path) -> None:
    torch.save({"sum/0/weight": torch.zeros(2)}, folder / "trail.safetensors")


def name_other_parts(folder: Path) -> None:
    checksum = write_tensors(folder / "trail.safetensors", {"weights/0/weight": torch.zeros(2)})
    change_facts(sha256=checksum)(folder)  # type: ignore[operator]


def lose_tensors(folder: Path) -> None:
    (folder / "trail.safetensors").unlink()


def lose_facts(folder: Path) -> None:
    (folder / "trail.json").unlink()


def change_facts(**changes: object) -> object:
    def change(folder: Path) -> None:
        path = folder / "trail.json"
        facts = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: value for key, value in facts.items() if value != "gone"}))

    return change


def list_facts(folder: Path) -> None:
    (folder / "trail.json").write_text("[]")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut_short, "truncated or damaged"),
        (flip_a_bit, "altered or damaged"),
        (save_with_torch, "pickle or a torch.save"),
        (name_other_parts, "does not hold a trail"),
        (lose_tensors, "cannot read"),
        (lose_facts, "cannot read"),
        (list_facts, "does not hold a trail"),
        (change_facts(n_epochs="gone"), "does not hold a trail"),
        (change_facts(n_epochs="many"), "does not hold a trail"),
        (change_facts(n_epochs=2**62), "does not hold a trail"),  # no list of so many epochs is made
        (change_facts(n_epochs=float("inf")), "does not hold a trail"),
        (change_facts(n_epochs=3), "does not hold a trail"),
        (change_facts(released="gone"), "does not hold a trail"),
        (change_facts(released=3), "does not hold a trail"),
        (change_facts(sha256="0" * 64), "altered or damaged"),
    ],
)
def test_a_corrupt_snapshot_is_refused(tmp_path: Path, damage: object, said: str) -> None:
    Walker(9, 4).trail.save(tmp_path)
    Trail.load(tmp_path)
    damage(tmp_path)  # type: ignore[operator]
    with pytest.raises(StoreError, match=said):
        Trail.load(tmp_path)


def test_one_trail_gives_one_release() -> None:
    trail = Walker(2, None).trail
    trail.record_release("first")
    trail.record_release("first")
    with pytest.raises(ReleaseError, match="solve for the undefended weights"):
        trail.record_release("second")
    assert trail.released == "first"
    trail.record_release("second", force=True)
    assert trail.released == "second"


def test_two_releases_of_one_trail_give_back_the_undefended_weights() -> None:
    """R = keep * final + (1 - keep) * donor: two such equations, two unknowns. This is what ReleaseError prevents."""
    walker = Walker(12, None)
    final, donor = walker.states[-1], walker.trail.window(2, 5)
    a, b = 0.3, 0.6
    first, second = mix(final, donor, a, final), mix(final, donor, b, final)
    for key in final:
        solved = ((1 - a) * second[key].double() - (1 - b) * first[key].double()) / (b - a)
        assert (first[key] - final[key]).abs().mean() > 0.5, "one release alone is far away"
        torch.testing.assert_close(solved, final[key].double(), rtol=0, atol=2e-5)
