"""What the store's test processes do."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch

from membrane.core import Store

N_KEYS = 3


def save(store: Store, key: str, number: int) -> None:
    """An entry whose every part holds ``number``, so that halves of two entries show."""
    store.save("numbers", key, {"all": torch.full((20_000,), number)}, {"number": number, "text": "x" * 5_000})


def save_many(store: Store, n: int) -> None:
    for number in range(n):
        save(store, f"key{number}", number)


def save_forever(root: Path, start: int) -> None:
    """Replace the same few entries again and again."""
    for number in itertools.count(start):
        save(Store(root), f"key{number % N_KEYS}", number)


def save_one_key(root: Path, start: int, times: int) -> None:
    for number in range(start, start + times):
        save(Store(root), "key", number)


def check_whole(store: Store, key: str) -> None:
    entry = store.load("numbers", key)
    assert (entry.tensors["all"] == entry.facts["number"]).all()
