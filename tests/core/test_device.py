from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import TypeVar

import pytest
import torch

from membrane.core import device as devices
from membrane.core.device import CPU, described, find_device, refuse_absent, working_device, working_on
from membrane.core.errors import SettingError

Found = TypeVar("Found")
CUDA = torch.device("cuda")


def outside(what: Callable[[], Found]) -> Found:
    """What comes out where nothing says where this process works."""
    return Context().run(what)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets torch see so many GPUs."""

    def see(n: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n)

    return see


def test_outside_of_any_engine_the_cpu_works() -> None:
    assert outside(working_device) == CPU


def test_a_device_is_worked_on_inside_and_what_was_before_afterwards() -> None:
    before = working_device()
    with working_on(CUDA):
        assert working_device() == CUDA
        with working_on(CPU):
            assert working_device() == CPU
        assert working_device() == CUDA
    assert working_device() == before
    with pytest.raises(KeyError), working_on(CUDA):
        raise KeyError
    assert working_device() == before


def test_auto_is_a_gpu_if_there_is_one(seen: Callable[[int], None]) -> None:
    for n, wanted in ((0, CPU), (1, CUDA), (3, CUDA)):
        seen(n)
        assert outside(lambda: find_device("auto")) == wanted


def test_auto_stays_where_the_process_works_already(seen: Callable[[int], None]) -> None:
    seen(1)
    with working_on(CPU):
        assert find_device("auto") == CPU
        assert find_device("cuda") == CUDA, "but what is named is meant"
    seen(0)
    with working_on(CUDA):
        assert find_device("auto") == CUDA, "of another machine, say"


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "CPU", "", "mps", "cuda:0,1"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(SettingError, match=r'it must be "auto".*"cpu", "cuda", or "cuda:1"'):
        find_device(name)


def test_a_gpu_that_is_not_there_is_refused(seen: Callable[[int], None]) -> None:
    seen(2)
    assert find_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(SettingError, match="device is cuda:2; torch sees 2 GPUs here, counted from cuda:0"):
        find_device("cuda:2")
    seen(0)
    with pytest.raises(SettingError, match=r'device is cuda, and torch .* sees no GPU here. Set device = "cpu"'):
        find_device("cuda")
    refuse_absent(CPU)
    assert find_device("cpu") == CPU


def test_a_report_calls_the_gpu_by_its_name(seen: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Card 9")
    seen(1)
    assert (described(CPU), described(CUDA)) == ("cpu", "cuda, Card 9")
    seen(0)
    assert described(CUDA) == "cuda"
    assert devices.n_gpus() == 0
