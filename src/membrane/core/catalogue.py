"""A catalogue turns a name and settings into an object, and says what exists when the name is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from membrane.core.errors import SettingError
from membrane.core.settings import build, did_you_mean

T = TypeVar("T")


class Catalogue(Generic[T]):
    """Named classes of one kind (attacks, defenses, models, data sets ...).

    Args:
        kind: What an entry is, in the singular, for error messages.
        entries: Dataclasses with a ``name`` class attribute. A name may appear once.
    """

    def __init__(self, kind: str, entries: Iterable[type[T]]) -> None:
        self.kind = kind
        self._entries: dict[str, type[T]] = {}
        for entry in entries:
            name: str = entry.name  # type: ignore[attr-defined]
            if name in self._entries:
                raise SettingError(f"two {kind}s are called {name!r}; names are unique.")
            self._entries[name] = entry

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, name: str) -> type[T]:
        """Class behind ``name``.

        Raises:
            SettingError: If there is none, with the nearest name.
        """
        if name not in self._entries:
            known = ", ".join(self._entries)
            raise SettingError(f"no {self.kind} is called {name!r}. {did_you_mean(name, self)}There are: {known}.")
        return self._entries[name]

    def make(self, settings: str | Mapping[str, Any]) -> T:
        """Object from a bare name or from ``{"name": ..., setting: value, ...}``; settings may hold entries in turn.

        Raises:
            SettingError: If the name or any setting is unknown or does not fit.
        """
        plain = {"name": settings} if isinstance(settings, str) else dict(settings)
        name = plain.pop("name", None)
        if not isinstance(name, str):
            raise SettingError(f"a {self.kind} needs a name. There are: {', '.join(self._entries)}.")
        return build(self.entry(name), plain, f"{self.kind} {name!r}", self._inside)

    def _inside(self, cls: type[Any], settings: Mapping[str, Any], what: str) -> Any:  # noqa: ANN401
        """A dataclass in an entry's field: another entry, if the field takes any (a defense's base); else itself."""
        if all(issubclass(entry, cls) for entry in self._entries.values()):
            return self.make(settings)
        return build(cls, settings, what, self._inside)

    def describe(self) -> list[dict[str, str]]:
        """Name and first docstring sentence of each entry, for listings."""
        return [
            {"name": name, "what": (cls.__doc__ or "").strip().split("\n")[0]} for name, cls in self._entries.items()
        ]
