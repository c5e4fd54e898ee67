from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from membrane.cli.config import Run, read_run, run_from
from membrane.cli.init import TEMPLATE
from membrane.cli.preflight import examine
from membrane.core.errors import MembraneError, SettingError
from membrane.data import LongTail, Parquet, Unique
from membrane.defenses import RelaxLoss
from membrane.models import MLP
from membrane.pptp import PPTP, FrozenPlan, Plan, Stretch
from membrane.training import RECIPES
from membrane.training.engines import Processes, RayCluster
from tests.cli import runs

HERE = Path(".")


def mistakes(plain: dict[str, Any], folder: Path = HERE) -> tuple[str, ...]:
    with pytest.raises(SettingError) as refusal:
        run_from(plain, folder)
    return refusal.value.mistakes


def test_a_good_run_is_read() -> None:
    run = run_from(runs.settings(), HERE)
    assert list(run.defenses) == ["undefended", "pptp"]
    assert run.defenses["pptp"] == PPTP(base=RelaxLoss(alpha=1.0))
    assert run.recipe is not None
    assert (run.recipe.epochs, run.recipe.lr, run.seed, run.sizes.references) == (3, 1.0, 1, 4)
    assert {label: one.defense for label, one in run.trains.items()} == run.defenses  # type: ignore[union-attr]


def test_completed_settings_read_back_as_the_same_run() -> None:
    run = run_from(runs.settings(), HERE)
    assert run_from(json.loads(json.dumps(run.plain())), HERE) == run


def test_an_engine_is_read_and_a_wrong_one_refused() -> None:
    run = run_from(runs.settings(engine={"name": "processes", "workers": 2, "threads": 1}), HERE)
    assert run.engine == Processes(threads=1, workers=2)
    assert run_from(json.loads(json.dumps(run.plain())), HERE) == run
    assert run_from(runs.settings(engine="ray"), HERE).engine == RayCluster()
    assert "Did you mean 'processes'" in mistakes(runs.settings(engine="proceses"))[0]
    assert mistakes(runs.settings(engine=3)) == ('engine is 3; give a name or a table such as { name = "processes" }.',)


def test_a_store_counts_from_the_files_folder_or_is_a_url(tmp_path: Path) -> None:
    run = run_from(runs.settings(store="../kept"), tmp_path)
    assert run.store == str(tmp_path / ".." / "kept")
    assert run_from(json.loads(json.dumps(run.plain())), HERE) == run
    assert run_from(runs.settings(store="memory://a/b"), HERE).store == "memory://a/b"
    assert run_from(runs.settings(), HERE).store is None
    assert "Protocol not known" in mistakes(runs.settings(store="nothing://x"))[0]
    for wrong in (3, "", " ", "a\0b", ["x"]):
        assert "give a folder, or a URL" in mistakes(runs.settings(store=wrong))[0]


def test_the_template_is_a_run(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(TEMPLATE)
    assert isinstance(read_run(tmp_path / "run.toml"), Run)


def test_a_plan_can_be_written_down() -> None:
    plan = {"stretches": [{"region": "hidden1", "first": 1, "last": 2, "keep": 0.5}]}
    run = run_from(runs.settings(defenses=[{"name": "frozen_plan", "plan": plan}]), HERE)
    assert run.defenses["frozen_plan"] == FrozenPlan(Plan((Stretch("hidden1", 1, 2, 0.5),)))


def test_paths_of_data_count_from_the_file_wherever_they_stand(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.parquet").touch()
    inside = {"name": "parquet", "path": ["a.parquet", "[b].parquet"], "test": "c.parquet"}
    run = run_from(
        runs.settings(data={"name": "long_tail", "ratio": 5, "of": {"name": "unique", "of": inside}}), tmp_path
    )
    files = Parquet((str(tmp_path / "a.parquet"), str(tmp_path / "[b].parquet")), test=str(tmp_path / "c.parquet"))
    assert run.data == LongTail(Unique(files), 5.0)
    assert run_from(json.loads(json.dumps(run.plain())), HERE) == run


def test_all_files_that_are_not_there_are_told_with_what_to_do() -> None:
    found = mistakes(runs.settings(data={"name": "parquet", "path": ["a.parquet", "zz*"], "test": "c"}))
    assert [text.split("/")[-1] for text in found] == [
        f"{name}. Paths count from the run file's folder." for name in ("a.parquet", "zz*", "c")
    ]
    (cifar,) = mistakes(runs.settings(data={"name": "unique", "of": {"name": "cifar10", "path": "data"}}))
    assert "Download it with `curl" in cifar


def test_all_mistakes_come_at_once() -> None:
    found = mistakes(
        runs.settings(
            titel="x",
            seed=1.5,
            data={"name": "digit"},
            model={"name": "mlp", "width": [8]},
            recipe={"epoch": 3, "lr": "fast"},
            defenses=[{"name": "pptpp"}, 3, {"name": "pptp", "base": {"name": "relaxlos"}, "max_candidates": "many"}],
            attacks=["los", "loss", "loss"],
            audit={"reference": 4, "canaries": True},
        )
    )
    assert [text for text in found if "titel" in text and "Did you mean 'title'?" in text]
    for part in (
        "seed is 1.5",
        "Did you mean 'digits'?",
        "Did you mean 'widths'?",
        "Did you mean 'epochs'?",
        "lr is 'fast'",
        "Did you mean 'pptp'?",
        "number 2: this is 3",
        "Did you mean 'relaxloss'?",
        "max_candidates is 'many'",
        "Did you mean 'loss'?",
        "listed more than once",
        "Did you mean 'references'?",
        "canaries is True",
    ):
        assert any(part in text for text in found), part
    assert len(found) == 14


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data": None}, "data is missing"),
        ({"model": None}, "model is missing"),
        ({"data": 3}, "data is 3"),
        ({"data": {"test": 5}}, "needs a name"),
        ({"data": {"name": "digits", "test": 10**6}}, "1797 images"),
        ({"data": {"name": "parquet", "path": "nowhere.parquet"}}, "there is no file"),
        ({"data": {"name": "parquet", "path": "\0"}}, "there is no file"),
        ({"data": {"name": "parquet", "path": "x" * 4000}}, "there is no file"),
        ({"model": "mlpp"}, "Did you mean 'mlp'?"),
        ({"recipe": [1]}, "recipe is [1]"),
        ({"recipe": {"epochs": 0}}, "epochs"),
        ({"recipe": {"lr": float("nan")}}, "lr"),
        ({"recipe": {"epochs": 10**9}}, "at most 10,000"),
        ({"recipe": {"model": "mlp"}}, "no setting 'model'"),
        ({"recipe": {"defense": {}}}, "no setting 'defense'"),
        ({"defenses": []}, "defenses is []"),
        ({"defenses": "undefended"}, "defenses is 'undefended'"),
        ({"defenses": ["undefended", "undefended"]}, "a label of its own"),
        ({"defenses": [{"name": "undefended", "label": ""}]}, "label is ''"),
        ({"defenses": [{"name": "undefended", "label": "a\x1b[2J"}]}, "printable"),
        ({"defenses": [{"name": "pptp", "base": "relaxloss"}]}, "a table of settings"),
        ({"defenses": [{"name": "pptp", "base": {"alpha": 1}}]}, "a defense needs a name"),
        ({"defenses": [{"name": "frozen_plan", "plan": {"stretches": [3]}}]}, "a list, each item"),
        ({"defenses": [{"name": "frozen_plan", "plan": {"stretches": [{"regin": 1}]}}]}, "Did you mean 'region'?"),
        ({"defenses": [{"name": "early_stopping", "epoch": -1}]}, "epochs count from 0"),
        ({"attacks": []}, "attacks is []"),
        ({"attacks": [{"name": "lira", "variance": "poled"}]}, "must be one of 'auto', 'pooled', 'per_example'"),
        ({"audit": 16}, "audit is 16"),
        ({"audit": {"near_duplicates": float("inf")}}, "near_duplicates is inf; it must be a finite number"),
        ({"seed": True}, "seed is True"),
        ({"seed": 2**64}, "larger than 64 bits"),
        ({"title": "half \ud800"}, "half of a surrogate pair"),
        (
            {"data": {"name": "on_disk", "folder": "x" * 4000, "of": {"name": "table", "path": "a.csv"}}},
            "there is no file",
        ),
        ({"title": "x" * 10_000}, "characters long"),
        ({"train": "nowhere:train"}, "model would change nothing"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    found = mistakes(runs.settings(**changes), tmp_path)
    assert any(says in text for text in found), found


def test_paths_count_from_the_run_file(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"")
    run = run_from(runs.settings(data={"name": "parquet", "path": "x.parquet"}), tmp_path)
    assert run.data == Parquet(path=str(tmp_path / "x.parquet"))


FUNCTION = {"model": None, "recipe": None, "defenses": None}


def test_a_function_beside_the_run_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "found_module.py").write_text("def train(members, holdout, generator): ...\n")
    run = run_from(runs.settings(**FUNCTION, train="found_module:train"), tmp_path)
    assert list(run.trains) == ["train"]
    assert run_from(run.plain(), tmp_path).plain() == run.plain()


@pytest.mark.parametrize(
    ("name", "content", "train", "says"),
    [
        ("m_empty", "", "m_empty:train", "has no 'train'"),
        ("m_near", "def trian(a, b, c): ...", "m_near:train", "Did you mean 'trian'?"),
        ("m_raises", "raise ValueError('no luck')", "m_raises:train", "ValueError: no luck"),
        ("m_exits", "raise SystemExit(3)", "m_exits:train", "SystemExit: 3"),
        ("m_syntax", "def (", "m_syntax:train", "SyntaxError"),
        ("m_value", "train = 3", "m_value:train", "is a int"),
        ("m_two", "def train(a, b): ...", "m_two:train", "does not take three arguments"),
        ("m_four", "def train(a, b, c, d): ...", "m_four:train", "does not take three arguments"),
        ("m_bad", "", "m_bad.train", "names no function"),
        ("m_gone", "", "m_elsewhere:train", "ModuleNotFoundError"),
        ("m_type", "", 3, "names no function"),
        ("m_dots", "", "..:train", "names no function"),
    ],
)
def test_a_function_that_does_not_fit_is_refused(
    name: str, content: str, train: object, says: str, tmp_path: Path
) -> None:
    (tmp_path / f"{name}.py").write_text(content)
    found = mistakes(runs.settings(**FUNCTION, train=train, seed="x"), tmp_path)
    assert len(found) == 2, found
    assert any(says in text for text in found), found


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"title",
        b"\xff\xfe",
        b"PK\x03\x04",
        b"title = 1\ntitle = 2",
        b"seed = " + b"9" * 6000,
        b"seed = 0x" + b"f" * 6000,
        b"data = " + b"[" * 3000 + b"]" * 3000,
        b".".join([b"a"] * 3000) + b" = 1",
        b"data = 2024-01-01",
        b"seed = nan",
        b'[data]\nname = "digits"\n[[defenses]]\nname = ["undefended"]\n',
    ],
)
def test_hostile_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(content)
    with pytest.raises(SettingError):
        read_run(tmp_path / "run.toml")


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"membrane init"):
        read_run(tmp_path / "run.toml")
    with pytest.raises(SettingError, match=r"cannot read"):
        read_run(tmp_path)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["digits", "mlp", "resnet", "vit", "pptp", "relaxloss", "frozen_plan", "lira", "parquet"])
)
NAMES = st.sampled_from(
    ["name", "label", "base", "plan", "stretches", "region", "first", "last", "keep", "widths", "path", "epochs", "x"]
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)


def leaves(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in leaves(item, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: object) -> Any:  # noqa: ANN401
    if not path:
        return new
    if isinstance(value, dict):
        return value | {path[0]: replaced(value[path[0]], path[1:], new)}
    return [replaced(item, path[1:], new) if i == path[0] else item for i, item in enumerate(value)]


def is_read_or_refused(plain: dict[str, Any]) -> None:
    """Anything but a refusal fails the test; what is read reads back the same."""
    run = None
    with suppress(MembraneError):
        run = run_from(plain, HERE)
    if run is not None:
        again = json.dumps(run.plain())
        assert json.dumps(run_from(json.loads(again), HERE).plain()) == again


@given(st.dictionaries(st.sampled_from(["title", "seed", "data", "model", "recipe", "defenses", "audit"]), VALUES))
@settings(max_examples=60)
def test_any_settings_are_read_or_refused(plain: dict[str, Any]) -> None:
    is_read_or_refused(plain)


@given(st.sampled_from(leaves(runs.settings())[1:]), VALUES)
@settings(max_examples=200)
def test_a_good_run_with_one_odd_value_is_read_or_refused(path: tuple[Any, ...], value: object) -> None:
    is_read_or_refused(replaced(runs.settings(), path, value))


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@settings(max_examples=100)
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "run.toml"
    path.write_bytes(content)
    with pytest.raises(SettingError):
        read_run(path)


def test_queries_are_a_setting_of_the_audit() -> None:
    sizes = {"references": 4, "pool": 100}
    run = run_from(runs.settings(audit={**sizes, "queries": "shifts"}, defenses=["undefended"], attacks=["loss"]), HERE)
    assert run_from(json.loads(json.dumps(run.plain())), HERE) == run
    assert examine(run).task.queries == run.sizes.queries == "shifts"
    (refusal,) = mistakes(runs.settings(audit={**sizes, "queries": "mirrors"}))
    assert refusal == "audit: queries is 'mirrors'; it must be one of 'identity', 'mirror', 'shifts'."


def test_a_recipe_has_a_name_its_own_model_and_what_is_set_beside_it() -> None:
    run = run_from(runs.settings(recipe={"name": "lab_cifar10", "epochs": 3}, model=None), HERE)
    assert run.recipe == RECIPES.make({"name": "lab_cifar10", "epochs": 3})
    assert run_from(json.loads(json.dumps(run.plain())), HERE) == run
    steps = run_from(runs.settings(recipe={"name": "lab_cifar10", "milestones": [[0.5, 1]]}), HERE).recipe
    assert steps is not None
    assert (steps.model, steps.milestones) == (MLP((8,)), ((0.5, 1.0),))


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ({"name": "lab_cifar"}, "no recipe is called 'lab_cifar'. Did you mean 'lab_cifar10'?"),
        ({"name": 3}, "recipe: name is 3"),
        ({"name": ["lab_cifar10"]}, "recipe: name is ['lab_cifar10']"),
        ({"name": "lab_cifar10", "epoch": 3}, "Did you mean 'epochs'?"),
        ({"milestones": [0.5]}, "milestones is (0.5,)"),
    ],
)
def test_recipes_that_are_none_are_refused(recipe: dict[str, Any], says: str) -> None:
    assert any(says in text for text in mistakes(runs.settings(recipe=recipe)))
