from __future__ import annotations

import dataclasses
import enum
import functools
import importlib
import io
import logging
import os
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from membrane.core import Store
from membrane.data import Examples
from membrane.models import MLP
from membrane.training import train_fleet
from membrane.training.identity import identity
from membrane.training.keys import release_key
from tests.training import jobs
from tests.training.jobs import N_MODELS, own_loop, small_recipe

RATE = 0.1
ROOT = Path(__file__).parents[2]


class Trainer:
    """A callable object with a setting."""

    def __init__(self, setting: object) -> None:
        self.setting = setting

    def __call__(self) -> object:
        return self.setting

    def method(self) -> object:
        return self.setting


@dataclasses.dataclass(frozen=True)
class Settings:
    epochs: int = 1
    rates: tuple[float, ...] = ()
    more: list[int] = dataclasses.field(default_factory=list)


class Mode(enum.Enum):
    FAST = 1
    SLOW = 2


def closure(held: object, *, default: object = None) -> Callable[..., object]:
    def train(first: object = None, second: object = default, *, named: object = default) -> object:
        return held, first, second, named

    return train


def network(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(2, 2), nn.ReLU())


def without_source(text: str) -> object:
    scope: dict[str, object] = {}
    exec(f"def train(): return {text}", scope)
    return scope["train"]


def recursive() -> Callable[..., object]:
    def train(depth: int) -> object:
        return train(depth - 1) if depth else None

    return train


PAIRS: dict[str, Callable[[], tuple[object, object]]] = {  # values of one type, and nearly one value
    "numbers": lambda: (1, 2),
    "number and truth": lambda: (1, True),
    "number and text": lambda: (1, "1"),
    "bytes": lambda: (b"a", b"b"),
    "nan": lambda: (1.0, float("nan")),
    "tuples": lambda: ((1, 2), (1, (2,))),
    "lists": lambda: ([1], [2]),
    "lists in lists": lambda: ([[1], [2]], [[1, 2]]),
    "dicts": lambda: ({"lr": 0.1}, {"lr": 0.2}),
    "keys": lambda: ({"lr": 0.1}, {"momentum": 0.1}),
    "read-only": lambda: (types.MappingProxyType({"lr": 0.1}), types.MappingProxyType({"lr": 0.2})),
    "sets": lambda: ({1, "a"}, {1, "b"}),
    "ranges": lambda: (range(3), range(4)),
    "numpy scalars": lambda: (np.float64(0.1), np.float64(0.2)),
    "numpy types": lambda: (np.float32(1), np.float64(1)),
    "arrays": lambda: (np.arange(2000), np.where(np.arange(2000) == 1000, 0, np.arange(2000))),
    "shapes": lambda: (np.zeros((2, 3)), np.zeros((3, 2))),
    "arrays of objects": lambda: (np.array([1, "a"], dtype=object), np.array([1, "b"], dtype=object)),
    "tensors": lambda: (torch.zeros(3), torch.ones(3)),
    "scalar tensors": lambda: (torch.tensor(1.0), torch.tensor(2.0)),
    "bfloat16": lambda: (torch.zeros(3, dtype=torch.bfloat16), torch.ones(3, dtype=torch.bfloat16)),
    "types of tensors": lambda: (torch.zeros(1, dtype=torch.int32), torch.zeros(1)),
    "devices": lambda: (torch.device("cpu"), torch.device("meta")),
    "dtypes": lambda: (torch.float32, torch.float64),
    "paths": lambda: (Path("a"), Path("b")),
    "dataclasses": lambda: (Settings(1), Settings(2)),
    "lists in dataclasses": lambda: (Settings(more=[1]), Settings(more=[2])),
    "arrays in dataclasses": lambda: (Settings(rates=(float("nan"),)), Settings(rates=(0.0,))),
    "examples": lambda: (jobs.examples(20), jobs.examples(20, seed=1)),
    "enumerations": lambda: (Mode.FAST, Mode.SLOW),
    "networks": lambda: (network(0), network(1)),
    "modes of networks": lambda: (network(0), network(0).eval()),
    "losses": lambda: (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1)),
    "recipes": lambda: (small_recipe(epochs=1), small_recipe(epochs=2)),
    "loggers": lambda: (logging.getLogger("a"), logging.getLogger("b")),
    "classes": lambda: (Settings, Trainer),
    "classes of libraries": lambda: (MLP, nn.Linear),
    "functions": lambda: (closure(1), closure(2)),
    "functions of libraries": lambda: (nn.functional.relu, nn.functional.gelu),
    "callable objects": lambda: (Trainer([1]), Trainer([2])),
    "methods": lambda: (Trainer({1: 2}).method, Trainer({1: 3}).method),
    "partials": lambda: (functools.partial(own_loop, [1]), functools.partial(own_loop, [2])),
    "without source": lambda: (without_source("1"), without_source("2")),
    "library decorators": lambda: (torch.no_grad()(closure(1)), torch.no_grad()(closure(2))),
    "caches": lambda: (functools.cache(closure(1)), functools.cache(closure(2))),
}
HOLDERS: dict[str, Callable[[object], Callable[..., object]]] = {
    "closure": closure,
    "default": lambda value: closure(None, default=value),
    "partial": lambda value: functools.partial(closure(None), value),
    "keyword": lambda value: functools.partial(closure(None), named=value),
    "attribute": Trainer,
    "method": lambda value: Trainer(value).method,
    "inside a closure": lambda value: closure(closure([{"deep": (value,)}])),
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("pair", PAIRS)
def test_what_a_function_holds_counts_by_content(pair: str, holder: str) -> None:
    hold = HOLDERS[holder]
    (a, b), (again, _) = PAIRS[pair](), PAIRS[pair]()
    assert identity(hold(a)) != identity(hold(b))
    assert identity(hold(a)) == identity(hold(again)), "equal content, other objects"


def test_the_order_of_a_set_does_not_count() -> None:
    names = [f"name {i}" for i in range(50)]
    turned = names[::-1]
    assert identity(closure(set(names))) == identity(closure(set(turned)))


def test_functions_and_methods_differ_by_name_and_code() -> None:
    lambdas = [lambda: 1, lambda: 2, lambda x: x, lambda x: -x, lambda: RATE, lambda: ROOT]
    bound = [
        functools.partial(closure(1), 5),
        functools.partial(closure(1), named=5),
        closure(1),
        closure(1, default=5),
    ]
    functions = [*lambdas, *bound, Trainer(1), Trainer(1).method, own_loop, recursive()]
    assert len({identity(function) for function in functions}) == len(functions)
    assert identity(recursive()) == identity(recursive())


def test_a_setting_of_the_module_counts_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    def reads() -> object:
        return [RATE for _ in range(2)]  # read by code inside the code, on some versions of Python

    def reads_not() -> object:
        return 1

    before = identity(reads), identity(reads_not)
    monkeypatch.setitem(globals(), "RATE", 0.2)
    assert identity(reads) != before[0]
    assert identity(reads_not) == before[1]


def test_a_replaced_method_of_a_class_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity(Trainer(1))
    monkeypatch.setattr(Trainer, "method", lambda self: None)
    assert identity(Trainer(1)) != before


def test_the_version_of_a_library_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def train() -> object:
        return torch.zeros(1)

    before = identity(train)
    monkeypatch.setattr(torch, "__version__", "0.0")
    assert identity(train) != before


def test_what_has_no_content_is_never_the_same() -> None:
    def evaluates() -> object:
        return eval("1")

    def imports() -> object:
        return importlib.import_module("this")

    lock = threading.Lock()
    values = (lock, [lock], {"a": lock}, {lock}, Trainer(lock), (i for i in "ab"), io.TextIOWrapper(io.BytesIO()))
    for value in values:
        assert identity(closure(value)) != identity(closure(value))
    for function in (evaluates, imports):
        assert identity(function) != identity(function)


# A user's loop in modules of its own.

HELPER = "SIZE = 8\n\ndef build(epochs):\n    from membrane.models import MLP\n    return MLP((SIZE,)), epochs\n"
LOOP = """\
import helper
from helper import build

EPOCHS = 1

class Loop:
    rate = 0.1

    def run(self, members, holdout, generator):
        model, epochs = (lambda: build(EPOCHS))()
        seed = int(generator.initial_seed() % 1000)
        from membrane.training import Recipe, fit
        return fit(Recipe(model, epochs, 16, self.rate), members, holdout, seed).model

def train(*given):
    return Loop().run(*given)

def unused():
    return 1
"""
SCRIPTS = {
    "names": "from loop import train as inner\n\ndef train(*given):\n    return inner(*given)\n",
    "modules": "import loop\n\ndef train(*given):\n    return loop.train(*given)\n",
    "names inside": "def train(*given):\n    from loop import train as inner\n    return inner(*given)\n",
    "modules inside": "def train(*given):\n    import loop as it\n    return it.Loop().run(*given)\n",
}
EDITS = {
    "function of a module": ("loop.py", "% 1000", "% 999"),
    "function inside a function": ("loop.py", "build(EPOCHS)", "build(EPOCHS + 1)"),
    "setting of a module": ("loop.py", "EPOCHS = 1", "EPOCHS = 2"),
    "setting of a class": ("loop.py", "rate = 0.1", "rate = 0.2"),
    "function two modules away": ("helper.py", "(SIZE,)", "(SIZE, SIZE)"),
    "setting two modules away": ("helper.py", "SIZE = 8", "SIZE = 9"),
}


class Project:
    """Modules of a user in a folder, and a fresh import of them."""

    def __init__(self, folder: Path, script: str) -> None:
        self.folder = folder
        for name, text in (("helper", HELPER), ("loop", LOOP), ("script", script)):
            (folder / f"{name}.py").write_text(text)

    def edit(self, file: str, old: str, new: str) -> None:
        text = (self.folder / file).read_text()
        assert text.count(old) == 1
        (self.folder / file).write_text(text.replace(old, new))

    def train(self) -> Callable[..., nn.Module]:
        for name in ("helper", "loop", "script"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        function: Callable[..., nn.Module] = importlib.import_module("script").train
        return function


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # edits within a second would not be noticed
    yield tmp_path
    for name in ("helper", "loop", "script"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_module_makes_another_function(folder: Path, script: str, edit: str) -> None:
    project = Project(folder, SCRIPTS[script])
    before = identity(project.train())
    assert identity(project.train()) == before
    project.edit(*EDITS[edit])
    assert identity(project.train()) != before


def test_an_edit_of_what_is_not_used_changes_nothing(folder: Path) -> None:
    project = Project(folder, SCRIPTS["names"])
    before = identity(project.train())
    project.edit("loop.py", "return 1", "return 2")
    assert identity(project.train()) == before


def test_a_second_run_after_an_edit_uses_no_old_signals(folder: Path) -> None:
    project, task, store = Project(folder, SCRIPTS["names"]), jobs.task(), Store(folder / "store")
    first = train_fleet(project.train(), task, store, seed=0)
    train_fleet(project.train(), task, store, seed=0)
    assert len(list(store.keys("release"))) == N_MODELS
    project.edit(*EDITS["setting two modules away"])
    second = train_fleet(project.train(), task, store, seed=0)
    assert len(list(store.keys("release"))) == 2 * N_MODELS
    assert not np.array_equal(first.pool.loss, second.pool.loss)


def test_a_function_that_cannot_be_recognized_is_called_anew(tmp_path: Path) -> None:
    calls: list[int] = []

    def with_lock(
        members: Examples,
        holdout: Examples,
        generator: torch.Generator,
        lock: object = threading.Lock(),
    ) -> nn.Module:
        calls.append(1)
        return small_recipe(epochs=1)(members, holdout, generator)

    task = jobs.task()
    for _ in range(2):
        train_fleet(with_lock, task, Store(tmp_path), seed=0, rows=[0])
    assert len(calls) == 2


IN_PROCESS = """
import functools, pathlib, sys
sys.path[:0] = {paths!r}
from membrane.training.identity import identity
from tests.training import jobs, test_identity as here
print(identity(functools.partial(jobs.own_loop, log=pathlib.Path("log"), epochs=2)))
held = [pair()[0] for pair in here.PAIRS.values()]
print(identity(here.closure(held)), identity(here.closure(set(here.PAIRS))))
import script
print(identity(script.train))
"""


@pytest.mark.slow
def test_other_processes_find_the_same_identity(folder: Path) -> None:
    """Whatever the order of sets is there, and whether modules come from source or compiled."""
    Project(folder, SCRIPTS["modules"])
    (folder / "run.py").write_text(IN_PROCESS.format(paths=[str(folder), str(ROOT), *sys.path]))
    said = set()
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": ""}
        run = subprocess.run(
            [sys.executable, str(folder / "run.py")], env=environment, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        said.add(run.stdout)
    assert len(said) == 1
    here = identity(functools.partial(own_loop, log=Path("log"), epochs=2))
    assert said.pop().splitlines()[0] == here


def test_labels_keep_functions_apart_and_leave_recipes_alone(tmp_path: Path) -> None:
    task = jobs.task()
    keys = [release_key(own_loop, task, 0, 0, label=label) for label in ("", "a", "b")]
    assert len(set(keys)) == 3
    assert release_key(own_loop, task, 0, 0) == keys[0]
    assert release_key(small_recipe(), task, 0, 0, label="a") == release_key(small_recipe(), task, 0, 0)
    store, train = Store(tmp_path), functools.partial(own_loop, log=tmp_path / "log", epochs=1)
    for label in ("a", "a", "b"):
        train_fleet(train, task, store, seed=0, rows=[0], label=label)
    assert (tmp_path / "log").read_text().count("begin") == 2
