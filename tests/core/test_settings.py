from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import pytest

from membrane.core import Catalogue, SettingError, fingerprint, to_plain
from membrane.core.errors import DataError, MembraneError, raise_all
from membrane.core.settings import build, did_you_mean


@dataclass(frozen=True)
class Tea:
    """Leaves in hot water.

    More about it.
    """

    name: ClassVar[str] = "tea"

    leaves: int
    seconds: float = 180.0
    milk: bool = False
    kind: Literal["green", "black"] = "green"
    cups: tuple[int, ...] = (1,)
    weights: tuple[float, ...] = ()
    note: str | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Tray:
    """A tray."""

    name: ClassVar[str] = "tray"

    tea: Tea = field(default_factory=lambda: Tea(1))
    shelf: int = 0

    def __post_init__(self) -> None:
        if self.shelf < 0:
            raise SettingError(f"tray: shelf is {self.shelf}.")


DRINKS: Catalogue[object] = Catalogue("drink", [Tea, Tray])


def test_settings_become_an_object() -> None:
    made = DRINKS.make({"name": "tea", "leaves": 3, "seconds": 60, "cups": [1, 2], "weights": [1, 2.5], "limit": 2})
    assert made == Tea(3, 60.0, cups=(1, 2), weights=(1.0, 2.5), limit=2.0)
    assert isinstance(made, Tea)
    assert [type(value) for value in (made.seconds, made.weights[0], made.limit)] == [float] * 3
    assert DRINKS.make("tray") == Tray()


def test_plain_form_makes_the_same_object_again() -> None:
    tea = Tea(3, cups=(4, 5), note="late")
    assert DRINKS.make(to_plain(tea)) == tea
    assert to_plain(Tray(tea)) == {"name": "tray", "tea": to_plain(tea), "shelf": 0}
    assert next(iter(to_plain(tea))) == "name"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"leaves": 1.0}, "leaves is 1.0; it must be a whole number"),
        ({"leaves": True}, "leaves is True; it must be a whole number"),
        ({"leaves": "3"}, "leaves is '3'; it must be a whole number"),
        ({"leaves": None}, "leaves is None; it must be a whole number"),
        ({"leaves": 1, "seconds": "long"}, "seconds is 'long'; it must be a finite number"),
        ({"leaves": 1, "seconds": float("nan")}, "seconds is nan; it must be a finite number"),
        ({"leaves": 1, "seconds": True}, "seconds is True; it must be a finite number"),
        ({"leaves": 1, "milk": 1}, "milk is 1; it must be true or false"),
        ({"leaves": 1, "kind": "red"}, "kind is 'red'; it must be one of 'green', 'black'"),
        ({"leaves": 1, "cups": 2}, "cups is 2; it must be a list, each item a whole number"),
        ({"leaves": 1, "cups": [1, 2.5]}, r"cups is \(1, 2.5\); it must be a list, each item a whole number"),
        ({"leaves": 1, "weights": ["a"]}, r"weights is \('a',\); it must be a list, each item a finite number"),
        ({"leaves": 1, "note": 3}, "note is 3; it must be text or nothing"),
        ({"leaves": 1, "limit": "x"}, "limit is 'x'; it must be a finite number or nothing"),
        ({}, "needs a value for 'leaves'"),
        ({"leaves": 1, "secnds": 2}, "has no setting 'secnds'. Did you mean 'seconds'. It has: leaves, seconds"),
        ({"leaves": 1, "zzz": 2}, r"has no setting 'zzz'\. It has: leaves"),
    ],
)
def test_a_wrong_setting_is_named_with_what_fits(settings: dict[str, object], said: str) -> None:
    with pytest.raises(SettingError, match=f"^drink 'tea'.*{said}"):
        DRINKS.make({"name": "tea", **settings})


def test_all_mistakes_are_listed_at_once() -> None:
    with pytest.raises(SettingError) as caught:
        build(Tea, {"seconds": "x", "mlik": True, "kind": 3}, "drink 'tea'")
    lines = str(caught.value).splitlines()
    assert lines[0] == "4 mistakes:"
    assert "no setting 'mlik'" in lines[1]
    assert "needs a value for 'leaves'" in lines[2]
    assert "seconds is 'x'" in lines[3]
    assert "kind is 3" in lines[4]


def test_the_class_has_the_last_word() -> None:
    with pytest.raises(SettingError, match="shelf is -1"):
        DRINKS.make({"name": "tray", "shelf": -1})


def test_a_catalogue_knows_its_entries() -> None:
    assert list(DRINKS) == ["tea", "tray"]
    assert len(DRINKS) == 2
    assert "tea" in DRINKS
    assert "coffee" not in DRINKS
    assert DRINKS.entry("tea") is Tea
    assert DRINKS.describe() == [{"name": "tea", "what": "Leaves in hot water."}, {"name": "tray", "what": "A tray."}]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("tee", "no drink is called 'tee'. Did you mean 'tea'. There are: tea, tray"),
        ("quartz", "no drink is called 'quartz'. There are: tea, tray"),
        ({"leaves": 3}, "a drink needs a name. There are: tea, tray"),
        ({"name": 3}, "a drink needs a name"),
    ],
)
def test_a_wrong_name_is_refused(settings: str | dict[str, object], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        DRINKS.make(settings)


def test_making_leaves_the_settings_alone() -> None:
    settings = {"name": "tea", "leaves": 1}
    DRINKS.make(settings)
    assert settings == {"name": "tea", "leaves": 1}


def test_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(SettingError, match="two drinks are called 'tea'"):
        Catalogue("drink", [Tea, Tea])


def test_fingerprints_are_pinned() -> None:
    """Stored trainings are found by these; a change here orphans every store."""
    assert fingerprint({"b": [1, 2.5], "a": None}) == "e57f5d37865437a8"
    assert fingerprint(Tea(3)) == "854b983115889cea"


def test_fingerprints_differ_where_values_do() -> None:
    values = [1, 1.5, "1", True, None, [1], [1, 2], {"a": 1}, {"a": 2}, {"b": 1}, Tea(1), Tea(2), Tray()]
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint((1, 2)) == fingerprint([1, 2])


@pytest.mark.parametrize(
    "value", [float("nan"), {"a": float("inf")}, Tea(1, seconds=float("nan")), object(), {1, 2}, Tea]
)
def test_what_is_no_setting_has_no_fingerprint(value: object) -> None:
    with pytest.raises(SettingError, match="cannot be a setting"):
        fingerprint(value)


def test_did_you_mean_keeps_quiet_when_nothing_is_near() -> None:
    assert did_you_mean("epoch", ["epochs", "lr"]) == "Did you mean 'epochs'? "
    assert did_you_mean("xyz", ["epochs", "lr"]) == ""


def test_raise_all_raises_the_class_it_is_given() -> None:
    raise_all(iter(()))
    with pytest.raises(DataError, match=r"^one$"):
        raise_all(["one"], DataError)
    with pytest.raises(MembraneError, match=r"2 mistakes:\n  - one\n  - two"):
        raise_all(iter(["one", "two"]), DataError)
