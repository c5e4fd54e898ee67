from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import membrane
from membrane.regions import copy_state, partition, unwrap
from tests.processes import finish, start
from tests.small import task
from tests.wrappers.jobs import two_ranks
from tests.wrappers.ways import Way, fresh, start_partition, walked

pytestmark = [
    # DDP says so of 1x1 convolutions; it costs speed and changes nothing.
    pytest.mark.filterwarnings("ignore:Grad strides do not match bucket view strides"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),  # the compiler, of DDP
    pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace the builtin"),  # the same
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated"),  # the compiler, of itself
]


@contextlib.contextmanager
def ddp(model: nn.Module) -> Iterator[nn.Module]:
    """DistributedDataParallel alone in its group."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        yield DistributedDataParallel(model)
    finally:
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def compiled(model: nn.Module, backend: str = "eager") -> Iterator[nn.Module]:
    yield torch.compile(model, backend=backend)  # type: ignore[misc]
    torch.compiler.reset()


@contextlib.contextmanager
def compiled_ddp(model: nn.Module) -> Iterator[nn.Module]:
    with ddp(model) as inner, compiled(inner) as outer:
        yield outer


inductor = functools.partial(compiled, backend="inductor")
gpu, slow = pytest.mark.gpu, pytest.mark.slow
WAYS = [
    Way("plain"),
    Way("compiled", compiled),
    pytest.param(Way("inductor", inductor), marks=slow),
    Way("ddp", ddp),
    pytest.param(Way("compiled_ddp", compiled_ddp), marks=slow),
    Way("ema", ema=True),
    pytest.param(Way("ema_of_compiled", compiled, ema=True), marks=slow),
    Way("bfloat16", autocast=torch.bfloat16),
    Way("scaler", scale=2.0**10),
    Way("scaler_that_skips", scale=2.0**60, overflow=True),
    Way("scheduler", schedule=True),
    pytest.param(Way("cuda", device="cuda"), marks=gpu),
    pytest.param(Way("cuda_half", device="cuda", autocast=torch.float16, scale=2.0**16, schedule=True), marks=gpu),
    pytest.param(Way("cuda_ema", device="cuda", ema=True, autocast=torch.bfloat16), marks=gpu),
    pytest.param(Way("cuda_inductor", inductor, device="cuda"), marks=gpu),
]
ways = pytest.mark.parametrize("way", WAYS, ids=str)
PLAN = membrane.Plan((membrane.Stretch("stage3", 0, 1),))


@ways
def test_the_trail_holds_the_mean_of_what_the_weights_were(way: Way) -> None:
    with walked(way) as walk:
        assert walk.trail.n_epochs == len(walk.updates) == 3
        for epoch, updates in enumerate(walk.updates):
            for key, value in walk.trail.window(epoch, epoch).items():
                expected = torch.stack([state[key].double() for state in updates]).mean(0)
                torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)
            end = walk.trail.at(epoch)
            assert all(torch.equal(end[key], updates[-1][key].float()) for key in end)
        walk.trail.check(walk.model)
        assert walk.n_skipped == (3 if way.overflow else 0)


@ways
def test_a_protected_model_is_the_users_own_with_one_region_from_earlier(way: Way) -> None:
    with walked(way) as walk:
        assert partition(walk.model, task().pool.x[:2].float()).names == start_partition()
        before = copy_state(walk.model)
        done = membrane.protect(walk.model, walk.trail, task().members(0), plan=PLAN)
        assert all(torch.equal(value, before[key]) for key, value in copy_state(walk.model).items()), "not changed"
        assert type(unwrap(done.model)) is type(fresh())
        after, donor = copy_state(done.model), walk.trail.window(0, 1)
        cut = partition(fresh())
        statistics = {key for key in after if "running" in key or "num_batches" in key}
        for key in after.keys() - statistics:
            torch.testing.assert_close(
                after[key], donor[key] if key in cut.keys(["stage3"]) else before[key], rtol=0, atol=1e-7
            )
        x = task().pool.x[:5].float() / 255
        device = next(done.model.parameters()).device
        with torch.inference_mode():
            logits = done.model(x.to(device)).cpu()
            bare = fresh()
            bare.load_state_dict(after)
            torch.testing.assert_close(logits, bare.eval()(x), rtol=1e-3, atol=1e-4)


@slow
@pytest.mark.parametrize("way", [Way("compiled", compiled), Way("ddp", ddp), Way("ema", ema=True)], ids=str)
def test_locating_and_choosing_work_on_a_wrapped_model(way: Way) -> None:
    with walked(way) as walk:
        done = membrane.protect(
            walk.model, walk.trail, task().members(0), task().holdout, membrane.Budget(0.1), max_candidates=4
        )
        assert done.risk_map is not None
        assert tuple(region.name for region in done.risk_map.regions) == start_partition()


def test_two_ranks_hold_the_same_trail(tmp_path: Path) -> None:
    jobs = [start(two_ranks, tmp_path, rank) for rank in range(2)]
    for job in jobs:
        finish(job)
    trails = [membrane.Trail.load(tmp_path / str(rank)) for rank in range(2)]
    plain = membrane.Trail.load(tmp_path / "plain")
    assert trails[0].windows == trails[1].windows == plain.windows
    for window in plain.windows:
        first, second, whole = (trail.window(*window) for trail in (*trails, plain))
        for key in whole:
            if "running" not in key:  # DDP hands rank 0's statistics out at the next forward pass
                assert torch.equal(first[key], second[key])
                torch.testing.assert_close(first[key], whole[key], rtol=1e-4, atol=1e-5)
