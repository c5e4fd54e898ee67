"""Two processes write into one store and are killed at random, while a third reads, verifies and prunes it.

    python benchmarks/two_writers.py FOLDER [--minutes 10] [--seed 0]

Each writer goes through its own endless list of entries, notes every finished one, and after a kill -9 goes on behind
the last it noted. There are three sorts of keys. *Common* keys decide their tensors, as all keys of an audit do, and
both writers write them again and again: a reader must always find them once they were finished. *Own* keys are replaced
with newer numbers by one writer, *contested* keys by both; while they are replaced a reader may be refused, but may
never get a mixture, and with the writers' lock in hand must find all that is there whole.

At the end `membrane store verify` has to find nothing, and every finished key has to hold what it should: common keys
their tensors, own keys their writer's last number, contested keys the last number of one of the two. Prints what
happened and ends with status 1 on any problem. FOLDER/two-writers is removed if there was none.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import random
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from processes import await_draft, kill, start

from membrane.cli import main as membrane
from membrane.core import Store, StoreError
from membrane.core.store import Entry, write_json
from membrane.core.upkeep import prune, survey

KIND = "numbers"
WRITERS = ("a", "b")
SIZES = (10, 5_000, 60_000, 400_000)  # float32: from one page to 1.6 MB
LONGEST = 0.8  # seconds from one kill to the next, at most
JUST_BEGUN = 0.005  # seconds after a file was begun in which half of the kills come: files are replaced then
READS_EACH = 300  # between two looks at the whole store


def step(writer: str, number: int) -> str:
    """Key that a writer writes at a step."""
    dice = random.Random(f"{writer} {number}")
    sort, n_keys = dice.choice([("common", 20), (f"own-{writer}", 20), ("contested", 4)])
    return f"{sort}-{dice.randrange(n_keys)}"


def content(key: str, writer: str, number: int) -> torch.Tensor:
    """(n,) what an entry holds; under a common key the same for both writers and all numbers."""
    dice = random.Random(key if key.startswith("common") else f"{key} {writer} {number}")
    return torch.arange(dice.choice(SIZES), dtype=torch.float32) + dice.randrange(1_000)


def fault(key: str, entry: Entry) -> str | None:
    """What is wrong with an entry, if anything."""
    writer, number = entry.facts["writer"], entry.facts["number"]
    if step(writer, number) != key:
        return f"{key} holds number {number} of writer {writer}, which belongs to {step(writer, number)}"
    if not torch.equal(entry.tensors["all"], content(key, writer, number)):
        return f"{key} holds other tensors than those of its facts"
    return None


def write(root: Path, writer: str, stop: Path) -> None:
    """Write entry after entry, from the first that was not noted, until a file says stop."""
    torch.set_num_threads(1)
    store, log = Store(root), root.with_name(f"{writer}.log")
    with log.open("ab", buffering=0) as notes:  # a note is one write: there or not
        for number in itertools.count(len(log.read_bytes().split())):
            key = step(writer, number)
            store.save(KIND, key, {"all": content(key, writer, number)}, {"writer": writer, "number": number})
            notes.write(f"{key}\n".encode())
            if stop.exists():  # not before: what a kill interrupted has to be done first
                return


class Reader:
    """Loads entries and remembers what it saw, so that a loss or a step back shows."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.newest: dict[str, int] = {}

    def read(self, key: str) -> None:
        """Load one entry."""
        self.counts["reads"] += 1
        try:
            entry = self.store.load(KIND, key)
        except StoreError as refusal:
            self.counts["reads refused while the entry was replaced"] += 1
            if key.startswith("common"):
                self.problems.append(f"{key} is written with the same bits always, and yet: {refusal}")
            self._read_alone(key)
        else:
            self._compare(key, entry)

    def _read_alone(self, key: str) -> None:
        with self.store.files.alone(KIND):
            if not self.store.has(KIND, key):  # its writer was killed between removing and replacing
                self.counts["entries that a kill removed until they were written again"] += 1
                return
            try:
                self._compare(key, self.store.load(KIND, key))
            except StoreError as problem:
                self.problems.append(f"{key} is damaged: {problem}")

    def _compare(self, key: str, entry: Entry) -> None:
        wrong = fault(key, entry)
        self.problems += [wrong] if wrong else []
        number = entry.facts["number"]
        if key.startswith("own") and number < self.newest.get(key, -1):
            self.problems.append(f"{key} went back from number {self.newest[key]} to {number}")
        self.newest[key] = max(number, self.newest.get(key, -1))

    def look_after(self) -> None:
        """Verify the whole store and prune it, beside its writers."""
        self.counts["surveys and prunes beside the writers"] += 1
        self.problems += [f"survey: {one.problem}" for one in survey(self.store).damaged]
        gone = [Path(path).name for path in prune(self.store)]
        self.counts["files of killed writers pruned"] += len(gone)
        self.problems += [f"prune removed {name}" for name in gone if name.endswith(".json")]


def read(root: Path, stop: Path, found: Path, seed: int) -> None:
    """Read entries at random until a file says stop, then write down what was seen."""
    torch.set_num_threads(1)
    reader, dice = Reader(root), random.Random(f"reader {seed}")
    while not stop.exists():
        there = list(reader.store.keys(KIND))
        # A common key that was there must not go, so those that were seen are asked for, listed or not.
        wanted = sorted({*there, *(key for key in reader.newest if key.startswith("common"))})
        for key in dice.choices(wanted, k=min(len(wanted), READS_EACH)):
            reader.read(key)
        if there:
            reader.look_after()
    write_json(found, {"counts": dict(reader.counts), "problems": reader.problems})


def disturb(folder: Path, seconds: float, dice: random.Random) -> tuple[Counter[str], list[str]]:
    """Let two writers and a reader run and kill one writer after the other; counts and problems."""
    root, stop, done, found = (folder / name for name in ("store", "stop", "done", "reader.json"))
    writers = {name: start(write, root, name, stop) for name in WRITERS}
    reader = start(read, root, done, found, dice.randrange(1_000))
    counts: Counter[str] = Counter()
    problems: list[str] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(dice.uniform(0, LONGEST))
        name = dice.choice(WRITERS)
        if dice.random() < 0.5:
            await_draft(root, writers[name])
            time.sleep(dice.uniform(0, JUST_BEGUN))
        try:
            counts["kills"] += kill(writers[name])
        except RuntimeError as failure:
            problems.append(f"writer {name}: {failure}")
        writers[name] = start(write, root, name, stop)
    stop.touch()
    for writer in writers.values():
        writer.join()
    done.touch()
    reader.join()
    problems += [f"writer {name} ended with {one.exitcode}" for name, one in writers.items() if one.exitcode]
    if reader.exitcode:
        return counts, [*problems, f"the reader ended with {reader.exitcode}"]
    seen = json.loads(found.read_text())
    return counts + Counter(seen["counts"]), problems + seen["problems"]


def last_numbers(folder: Path) -> dict[str, dict[str, int]]:
    """Number with which each writer last finished a key, by key and writer."""
    last: dict[str, dict[str, int]] = defaultdict(dict)
    for writer in WRITERS:
        for number, key in enumerate((folder / f"{writer}.log").read_text().split()):
            last[key][writer] = number
    return last


def verdict(root: Path, last: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """What is wrong with the store once everything stands still."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = membrane(["store", "verify", str(root), "--json", "--quiet"])
    verified = json.loads(printed.getvalue())
    if status or any(verified[what] for what in ("damaged", "orphans", "drafts")):
        yield f"membrane store verify ended with {status}: {verified}"
    store = Store(root)
    if set(last) != set(store.keys(KIND)):
        yield f"keys finished and keys there differ by {sorted(set(last) ^ set(store.keys(KIND)))}"
    for key in sorted(set(last) & set(store.keys(KIND))):
        try:
            entry = store.load(KIND, key)
        except StoreError as problem:
            yield str(problem)
            continue
        wrong = fault(key, entry)
        if wrong:
            yield wrong
        if last[key].get(entry.facts["writer"]) != entry.facts["number"]:
            yield f"{key} holds {entry.facts}, last finished were {dict(last[key])}"


def main() -> int:
    """Disturb, judge, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="where the store may lie for the time being")
    parser.add_argument("--minutes", type=float, default=10, help="how long it is written to")
    parser.add_argument("--seed", type=int, default=0, help="of the kills and of what is read")
    settings = parser.parse_args()
    folder = settings.folder / "two-writers"
    folder.mkdir(parents=True)
    for writer in WRITERS:
        (folder / f"{writer}.log").touch()
    begin = time.monotonic()
    counts, problems = disturb(folder, 60 * settings.minutes, random.Random(settings.seed))
    last = last_numbers(folder)
    problems += verdict(folder / "store", last)
    n_written = sum(len((folder / f"{writer}.log").read_text().split()) for writer in WRITERS)
    print(f"{n_written:,} entries written under {len(last)} keys in {time.monotonic() - begin:.0f} s")
    for what, count in sorted(counts.items()):
        print(f"{count:,} {what}")
    print(f"{len(problems):,} problems")
    for problem in problems[:20]:
        print(f"  {problem}")
    print(f"torch {torch.__version__}, {os.cpu_count()} processors")
    if not (n_written and counts["kills"] and counts["reads"]):
        print("Nothing was shown: there was no write, no kill or no read.")
        return 1
    if not problems:
        shutil.rmtree(folder)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
