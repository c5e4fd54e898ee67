"""The house rules that a machine can keep: one direction, a light import, no pickle, no global state, no printing."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = PROJECT / "src" / "membrane"

# A room may import the rooms before it and itself.
ROOMS = (
    "core",
    "metrics",
    "data",
    "models",
    "regions",
    "readings",
    "training",
    "defenses",
    "pptp",
    "attacks",
    "report",
    "verbs",
    "cli",
)
NEEDED_TO_IMPORT = {"torch", "numpy", "scipy", "safetensors"}
IMPORT_NAMES = {"pillow": "PIL", "scikit-learn": "sklearn"}  # where it differs from the package's name

SOURCES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """``core`` for src/membrane/core/store.py; ``cli`` for __main__.py; empty for the package's __init__.py."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return {"__init__": "", "__main__": "cli"}.get(first, first)


def package_of(path: Path) -> str:
    """Dotted package that relative imports in ``path`` start from."""
    return ".".join(path.relative_to(PACKAGE.parent).parent.parts)


def imported(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, those inside functions and under TYPE_CHECKING included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def direction_faults(tree: ast.AST, room: str, package: str) -> Iterator[str]:
    """Imports that climb: a later room, or the package itself, which knows all rooms."""
    for line, name in imported(tree, package):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if top != "membrane" or target == room:
            continue
        if target not in ROOMS:
            yield f"{line}: {room} imports {name}; import from the room that defines it"
        elif ROOMS.index(target) > ROOMS.index(room):
            yield f"{line}: {room} imports {target}, a later room"


def dotted(node: ast.AST) -> str:
    """``np.random.seed`` for that expression; empty for anything but names and dots."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return base and f"{base}.{node.attr}"
    return ""


UNPICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
PICKLING_CALLS = {"torch.load", "torch.save", "pd.read_pickle", "pandas.read_pickle"}


def pickle_faults(tree: ast.AST) -> Iterator[str]:
    """Everything that could write or run a pickle."""
    for line, name in imported(tree, ""):
        if name.split(".")[0] in UNPICKLERS or name in PICKLING_CALLS:
            yield f"{line}: imports {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and dotted(node) in PICKLING_CALLS:
            yield f"{node.lineno}: {dotted(node)}"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            yield f"{node.value.lineno}: allow_pickle"


OWN_STREAMS = {"Generator", "default_rng", "SeedSequence", "BitGenerator", "PCG64", "Philox"}
SEEDING = {"seed", "manual_seed", "manual_seed_all", "seed_all", "set_rng_state", "seed_everything"}
DRAWS = {f"torch.{draw}" for draw in ("rand", "randn", "randint", "randperm", "bernoulli", "multinomial", "normal")}


def in_fork(tree: ast.AST) -> set[int]:
    """Identity of every node inside ``with torch.random.fork_rng():``."""
    return {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.With) and any("fork_rng" in ast.unparse(item.context_expr) for item in node.items)
        for inner in ast.walk(node)
    }


def randomness_faults(tree: ast.AST) -> Iterator[str]:
    """Use of random streams that the caller did not pass.

    Layers draw their first weights and their dropout from torch's global stream and take no generator; so that
    stream may be used inside ``fork_rng``, which gives the caller's back as it was.
    """
    forked = in_fork(tree)
    for line, name in imported(tree, ""):
        if name.split(".")[0] == "random":
            yield f"{line}: imports random, one stream for the whole process; take a generator"
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.expr) and id(node) not in forked):
        name = dotted(node)
        owner, _, last = name.rpartition(".")
        if owner in {"np.random", "numpy.random"} and last not in OWN_STREAMS:
            yield f"{node.lineno}: {name}"
        if owner.partition(".")[0] == "torch" and last in SEEDING:
            yield f"{node.lineno}: {name} outside fork_rng"
        if (
            isinstance(node, ast.Call)
            and dotted(node.func) in DRAWS
            and "generator" not in {k.arg for k in node.keywords}
        ):
            yield f"{node.lineno}: {dotted(node.func)} without generator="


def printing_faults(tree: ast.AST) -> Iterator[str]:
    """Output that the caller did not ask for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func) in {"print", "sys.stdout.write", "sys.stderr.write"}:
            yield f"{node.lineno}: {dotted(node.func)}"


def faults_in(paths: list[Path], rule: Callable[[ast.AST], Iterator[str]]) -> list[str]:
    return [f"{path.relative_to(PROJECT)}:{fault}" for path in paths for fault in rule(ast.parse(path.read_text()))]


def test_rooms_are_the_folders() -> None:
    assert SOURCES, f"nothing under {PACKAGE}"
    assert {room_of(path) for path in SOURCES} - {""} <= set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_before_it(room: str) -> None:
    found = [
        f"{path.relative_to(PROJECT)}:{fault}"
        for path in SOURCES
        if room_of(path) == room
        for fault in direction_faults(ast.parse(path.read_text()), room, package_of(path))
    ]
    assert not found, "\n".join(found)


def test_no_pickle() -> None:
    found = faults_in(SOURCES, pickle_faults)
    assert not found, "\n".join(found)


def test_no_global_randomness() -> None:
    found = faults_in(SOURCES, randomness_faults)
    assert not found, "\n".join(found)


def test_the_library_does_not_print() -> None:
    found = faults_in([path for path in SOURCES if room_of(path) != "cli"], printing_faults)
    assert not found, "\n".join(found)


def in_metrics(tree: ast.AST) -> Iterator[str]:
    return direction_faults(tree, "metrics", "membrane.metrics")


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (pickle_faults, "import pickle"),
        (pickle_faults, "from joblib import load"),
        (pickle_faults, "from torch import load"),
        (pickle_faults, "def f(path):\n    return torch.load(path, weights_only=True)"),
        (pickle_faults, "np.load(path, allow_pickle=flag)"),
        (randomness_faults, "torch.manual_seed(0)"),
        (randomness_faults, "torch.cuda.manual_seed_all(0)"),
        (randomness_faults, "np.random.seed(0)"),
        (randomness_faults, "x = np.random.rand(3)"),
        (randomness_faults, "from random import shuffle"),
        (randomness_faults, "order = torch.randperm(n)"),
        (printing_faults, "def f():\n    print('hello')"),
        (printing_faults, "sys.stdout.write('hello')"),
        (in_metrics, "from membrane.attacks import loss"),
        (in_metrics, "def f():\n    import membrane.cli"),
        (in_metrics, "from ..verbs import audit"),
        (in_metrics, "from .. import verbs"),
        (in_metrics, "from membrane import Trail"),
        (in_metrics, "import membrane"),
    ],
)
def test_a_planted_fault_is_seen(rule: Callable[[ast.AST], Iterator[str]], code: str) -> None:
    assert list(rule(ast.parse(code)))


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (pickle_faults, "np.load(path, allow_pickle=False)"),
        (randomness_faults, "rng = np.random.default_rng(seed)\nrng.random(3)"),
        (randomness_faults, "g = torch.Generator().manual_seed(seed)"),
        (randomness_faults, "with torch.random.fork_rng():\n    torch.manual_seed(seed)"),
        (randomness_faults, "order = torch.randperm(n, generator=g)"),
        (printing_faults, "table.print()"),
        (in_metrics, "from .roc import roc"),
        (in_metrics, "from ..core.errors import DataError"),
        (in_metrics, "from membrane.core import errors"),
    ],
)
def test_a_lawful_line_is_left_alone(rule: Callable[[ast.AST], Iterator[str]], code: str) -> None:
    assert not list(rule(ast.parse(code)))


def declared() -> set[str]:
    """Import names of all packages that pyproject.toml lists for users, extras included."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for extra in extras if extra != "dev" for line in extras[extra])]
    names = [line.partition(">=")[0] for line in lines]
    return {IMPORT_NAMES.get(name, name) for name in names}


def test_every_package_that_is_imported_is_declared() -> None:
    known = declared() | set(sys.stdlib_module_names) | {"membrane"}
    found = [
        f"{path.relative_to(PROJECT)}:{line}: {name}"
        for path in SOURCES
        for line, name in imported(ast.parse(path.read_text()), package_of(path))
        if name.partition(".")[0] not in known
    ]
    assert not found, "\n".join(found)


def run_python(code: str) -> str:
    command = [sys.executable, "-c", f"import sys\nsys.path.insert(0, {str(PACKAGE.parent)!r})\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_works_with_the_four_needed_packages_alone() -> None:
    blocked = sorted(declared() - NEEDED_TO_IMPORT)
    run_python(f"""
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"blocked: {{name}}", name=name)
sys.meta_path.insert(0, Blocked())
import membrane
""")


def test_import_loads_nothing_else() -> None:
    """What the four needed packages load by themselves is theirs; the rest has to be the standard library's."""
    loaded = run_python("""
import numpy, safetensors.torch, scipy.special, torch  # what parts of scipy load is theirs, too
before = set(sys.modules)
import membrane
tops = {name.partition(".")[0] for name in set(sys.modules) - before} - {name.partition(".")[0] for name in before}
print(*sorted(tops - set(sys.stdlib_module_names)))
""").split()
    assert set(loaded) <= NEEDED_TO_IMPORT | {"membrane"}, loaded
