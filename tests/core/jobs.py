"""What the store's test processes do."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

import torch

from membrane.core import Store
from membrane.core.remote import Remote

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


def save_and_die_before_the_json(url: str) -> None:
    """Kills itself when the tensors lie there and the JSON is about to."""
    files = Remote(url)
    write = files._write

    def die(name: str, content: bytes) -> None:
        if name.endswith(".json"):
            os.kill(os.getpid(), signal.SIGKILL)
        write(name, content)

    files._write = die  # type: ignore[method-assign]
    save(Store(files), "key", 2)


def save_forever_at(url: str, environment: dict[str, str], start: int) -> None:
    """As ``save_forever``, at a URL."""
    os.environ.update(environment)
    for number in itertools.count(start):
        save(Store(url), f"key{number % N_KEYS}", number)
