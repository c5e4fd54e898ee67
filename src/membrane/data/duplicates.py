"""Inputs that occur more than once: identical ones always, almost identical images if asked for.

An example that is no member but whose copy is looks like a member to every attack, and rightly so; the audit would
count it as a mistake.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from membrane.core.errors import DataError, SettingError, raise_all
from membrane.core.values import Ints
from membrane.data.examples import Examples
from membrane.data.inputs import Inputs, concatenated, pieces, selected

_GRID = 8  # cells a side of the signature by which near duplicates are looked up
_ROWS = 1024  # compared at a time
_SLACK = 1e-3  # rounding of the look-up, which the comparison of all pixels makes good


@dataclass(frozen=True)
class Duplicates:
    """Copies that were found in one part, or in two.

    Args:
        first: Name of a part.
        second: Name of the other part; the same if the copies are in one.
        pairs: (K, 2) positions in ``first`` and in ``second``, ascending; each copy in ``second`` once.
        near: Whether they are almost identical rather than identical.
    """

    first: str
    second: str
    pairs: Ints
    near: bool = False

    def __str__(self) -> str:
        a, b = self.pairs[0]
        inputs = f"{len(self.pairs):,} {'almost identical' if self.near else 'identical'} inputs"
        if self.first == self.second:
            return f"{self.first} holds {inputs}, the first at {a} and {b}."
        return (
            f"{self.first} and {self.second} share {inputs}, the first at {a} in {self.first} and {b} in {self.second}."
        )


def find_duplicates(
    parts: Mapping[str, Examples], within: Sequence[str] = (), near: float | None = None
) -> list[Duplicates]:
    """Copies between every two parts, and inside those named.

    Near duplicates are the pairs of images whose pixels correlate at ``near`` or more, so brightness and contrast
    do not matter. They are looked up by a signature, the means of 8x8 cells in grey of images brought to one mean and
    norm; signatures are no further apart than the images are, so no pair is overlooked. Copies that are shifted by
    much, mirrored or recoloured are not found, nor images of one colour. Time grows with the square of the number.

    Args:
        parts: By name.
        within: Names of parts that must not hold copies of their own examples either.
        near: Correlation above 0.5 and below 1, 0.95 say; None for identical inputs alone.

    Raises:
        SettingError: If ``near`` is out of range, or asked for with inputs that are no images.
    """
    if near is not None and not 0.5 < near < 1:
        raise SettingError(f"near duplicates are images that correlate above 0.5 and below 1; near is {near}.")
    if near is not None and any(part.x.ndim != 4 for part in parts.values()):
        raise SettingError("near duplicates are looked for among images; leave near out for features.")
    seen = {name: _first_positions(part.x) for name, part in parts.items()}
    found = [_repeats(name, parts[name].x, seen[name]) for name in within]
    found += [_shared(a, seen[a], b, seen[b]) for a, b in _two_of(list(parts))]
    if near is not None:
        found += _near_duplicates(
            parts, {name: np.array(sorted(at.values())) for name, at in seen.items()}, within, near
        )
    return [one for one in found if len(one.pairs)]


def refuse_overlap(splits: Mapping[str, Examples]) -> None:
    """Refuse splits that share an input, compared byte by byte.

    Raises:
        DataError: Naming each pair of splits, how many inputs they share and the first.
    """
    _refuse(find_duplicates(splits), "drop the copies from one of the two")


def refuse_duplicates(found: Sequence[Duplicates]) -> None:
    """Refuse what ``find_duplicates`` found where copies could be allowed.

    Raises:
        DataError: One mistake for each part or pair of parts.
    """
    _refuse(found, "drop the copies (data source 'unique'), or set allow_duplicates if they are meant")


def _refuse(found: Sequence[Duplicates], instead: str) -> None:
    raise_all((f"{one} A membership audit needs every input once: {instead}." for one in found), DataError)


def _digests(x: Inputs) -> Iterator[bytes]:
    rows = (row for piece in pieces(x) for row in piece.contiguous().numpy())
    return (hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows)


def _first_positions(x: Inputs) -> dict[bytes, int]:
    seen: dict[bytes, int] = {}
    for i, digest in enumerate(_digests(x)):
        seen.setdefault(digest, i)
    return seen


def _repeats(name: str, x: Inputs, seen: Mapping[bytes, int]) -> Duplicates:
    pairs = [(seen[digest], i) for i, digest in enumerate(_digests(x)) if seen[digest] != i]
    return Duplicates(name, name, _as_pairs(pairs))


def _shared(a: str, in_a: Mapping[bytes, int], b: str, in_b: Mapping[bytes, int]) -> Duplicates:
    return Duplicates(a, b, _as_pairs([(in_a[digest], i) for digest, i in in_b.items() if digest in in_a]))


def _as_pairs(pairs: Sequence[tuple[int, int]]) -> Ints:
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)


def _two_of(names: Sequence[str]) -> list[tuple[str, str]]:
    return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]


def _near_duplicates(
    parts: Mapping[str, Examples], rows: Mapping[str, Ints], within: Sequence[str], near: float
) -> list[Duplicates]:
    """Pairs of different inputs that are almost identical; ``rows`` are those to compare, each input once."""
    names = list(parts)
    of = [(name, int(row)) for name in names for row in rows[name]]
    x = concatenated([selected(parts[name].x, torch.from_numpy(rows[name])) for name in names])
    pairs: dict[tuple[str, str], list[tuple[int, int]]] = {
        both: [] for both in [(name, name) for name in within] + _two_of(names)
    }
    for close in _close(_signatures(x), (2 - 2 * near) ** 0.5 + _SLACK):
        for i, j in close[(_normalized(x[close[:, 0]]) * _normalized(x[close[:, 1]])).sum((1, 2, 3)) >= near].tolist():
            (a, at), (b, copy) = of[min(i, j)], of[max(i, j)]
            if (a, b) in pairs:
                pairs[a, b].append((at, copy))
    return [Duplicates(*both, _each_once(found), near=True) for both, found in pairs.items()]


def _each_once(pairs: list[tuple[int, int]]) -> Ints:
    """The first pair of each copy."""
    return _as_pairs([(a, b) for b, a in {b: a for a, b in sorted(pairs, reverse=True)}.items()])


def _normalized(x: Tensor) -> Tensor:
    """Images (N, ...) as they are compared: mean 0 and Euclidean norm 1, or all zeros if of one colour."""
    centred = x.float() - x.float().mean((1, 2, 3), keepdim=True)
    return torch.nn.functional.normalize(centred.flatten(1)).view(x.shape)


def _signatures(x: Inputs) -> Tensor:
    """(N, cells) means of cells in grey, scaled so that distances are at most those between normalized images."""
    return torch.cat([_cells(_normalized(part)) for part in pieces(x, _ROWS)])


def _cells(x: Tensor) -> Tensor:
    rows, columns = (torch.arange(n).tensor_split(min(_GRID, n)) for n in x.shape[2:])
    areas = [x[:, :, r[0] : r[-1] + 1, c[0] : c[-1] + 1] for r in rows for c in columns]
    return torch.stack([area.sum((1, 2, 3)) / area[0].numel() ** 0.5 for area in areas], 1)


def _close(signature: Tensor, limit: float) -> Iterator[Tensor]:
    """Pairs (K, 2) of rows at a distance of ``limit`` or less, none of them all zeros.

    Rows are sorted along the direction in which they vary most; only those as close in it are compared.
    """
    kept = signature.any(1).nonzero().flatten()
    direction = torch.linalg.eigh(signature.T @ signature)[1][:, -1]
    kept = kept[(signature[kept] @ direction).argsort()]
    signature = signature[kept]
    along, squares = signature @ direction, signature.square().sum(1)
    ends = torch.searchsorted(along, along + limit, right=True)
    for start in range(0, len(signature), _ROWS):
        stop = min(start + _ROWS, len(signature))
        near = slice(start, int(ends[stop - 1]))
        distance = squares[start:stop, None] + squares[near] - 2 * signature[start:stop] @ signature[near].T
        yield from torch.split(kept[start + (distance <= limit**2).triu(1).nonzero()], _ROWS)
