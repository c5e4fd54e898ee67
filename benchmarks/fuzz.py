"""Hostile files: whatever a file holds, only membrane's own errors may come out, and nothing in it may be run.

    python benchmarks/fuzz.py [COUNT] [--seed 0] [--only READER] [--jobs 1] [--findings runs/fuzz]

Each reader (run files, tensors, trails, stores, arrays, tables, images, archives) gets its share of COUNT inputs, each
20 000 of a million or more: good files, hostile ones written by hand (pickles with a payload, images of 60 000 x 60 000
pixels, headers of 2**60 bytes, very many rows in a few bytes, names that point outside), and mutations of both. An
audit hook watches for programs started, pickles opened, code run, modules imported, and files written elsewhere; the
process may take 3 GiB of addresses more than it has at the start; one input may take a minute.

Whatever else comes out is a finding: its kind is printed, and the files that caused it are saved. Each reader has a
process of its own, so that a crash is a finding too. Ends with status 1 if there was one.
"""

from __future__ import annotations

import argparse
import codecs
import faulthandler
import gc
import logging
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyarrow
import torch
from PIL import Image

from benchmarks.fuzzing.guard import Guard, TooSlow, held_memory, limit_memory, most_memory, within
from benchmarks.fuzzing.mutation import Files, mutated
from benchmarks.fuzzing.readers import READERS, Reader
from membrane.core import MembraneError

COUNT = 1_000_000
SECONDS = 60.0  # for one input
BOMBS_FROM = 1_000  # inputs of a reader; with fewer, no bombs are among them
MEMORY = 3 << 30  # bytes of addresses above those at the start
_SAVED = 3  # inputs of one kind of finding
GUARD = Guard()
_WRITTEN: dict[Path, set[str]] = {}  # names of files by the folder that they were last written to


@dataclass
class Tally:
    """What became of a reader's inputs.

    Args:
        name: Of the reader.
        accepted: Inputs that were read.
        refused: Inputs that raised an error of membrane's.
        seconds: Of the processor, for all of it, mutation included.
        slowest: Seconds of one input, at most, by the clock.
        findings: Number of inputs by what else came out.
        growth: Bytes that the process held at most, above those at the start.
        memory: Bytes that it held at most.
    """

    name: str
    accepted: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    findings: Counter[str] = field(default_factory=Counter)
    growth: int = 0
    memory: int = 0

    @property
    def inputs(self) -> int:
        """All of them."""
        return self.accepted + self.refused + self.findings.total()


def fuzz(reader: Reader, count: int, seed: int, place: Path, saved: Path | None = None) -> Tally:
    """Give a reader ``count`` inputs: its good and hostile ones first, as many as that, then mutations.

    Args:
        reader: To be fuzzed.
        count: Of inputs.
        seed: Of the mutations; input ``i`` is the same whatever the count, but for the day that
            archives note.
        place: Folder that the inputs are written to.
        saved: Folder for inputs that are findings.
    """
    tally = Tally(reader.name)
    good, hostile, bombs = reader.good(), reader.hostile(), reader.bombs() if count >= BOMBS_FROM else []
    small = good + hostile
    first = small + bombs
    for files in good:
        _write(files, place)
        reader.read(place)  # raises if a good input is refused, and imports what is needed
    begin, before = time.process_time(), held_memory()
    for number in range(count):
        dice = random.Random(f"{seed}/{reader.name}/{number}")
        if number < len(first):
            files = first[number]
        else:
            files = mutated(dice.choice(good if dice.random() < 0.8 else small), dice, small)
            if reader.sealed and dice.random() < 0.7:
                files = reader.sealed(files)
        _write(files, place)
        _one(reader, files, place, saved, tally)
    tally.seconds, tally.memory = time.process_time() - begin, most_memory()
    tally.growth = max(tally.memory - before, 0)
    return tally


def _write(files: Files, place: Path) -> None:
    """The input's files in the folder, in place of those of the input before."""
    for name in _WRITTEN.pop(place, set()) - files.keys():
        (place / name).unlink()
    for name, content in files.items():
        path = f"{place}/{name}"
        if not os.path.isdir(os.path.dirname(path)):
            os.makedirs(os.path.dirname(path))
        with open(path, "wb", buffering=0) as file:
            file.write(content)
    _WRITTEN[place] = set(files)


def _one(reader: Reader, files: Files, place: Path, saved: Path | None, tally: Tally) -> None:
    begin, finding = time.monotonic(), ""
    try:
        with within(SECONDS), GUARD.armed(place):
            reader.read(place)
        accepted = True
    except MembraneError as problem:
        accepted = False
        try:
            str(problem).encode()
        except UnicodeEncodeError as unsayable:
            finding = f"a message that cannot be printed: {unsayable}"
    except KeyboardInterrupt:
        raise
    except (Exception, TooSlow) as problem:
        accepted = False
        finding = _told(problem)
        del problem
    tally.slowest = max(tally.slowest, time.monotonic() - begin)
    if events := GUARD.taken():
        finding = "; ".join(events)
    if not finding:
        tally.accepted += accepted
        tally.refused += not accepted
        return
    tally.findings[finding] += 1
    if saved and tally.findings[finding] <= _SAVED:
        folder = saved / reader.name.replace(" ", "_") / f"{len(tally.findings)}-{tally.findings[finding]}"
        _write(files, folder)
        (folder / "finding.txt").write_text(finding, errors="replace")


def _told(problem: BaseException) -> str:
    """Kind and first words of an exception, and the innermost place in membrane that it came from."""
    frames = [
        one
        for one in traceback.extract_tb(problem.__traceback__)
        if "membrane" in one.filename and "src" in one.filename
    ]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(problem).__name__} at {where}"


def prepare(place: Path) -> None:
    """What a process does once before it reads."""
    Image.init()  # imports all decoders
    for text in ("utf-8-sig", *(f"utf-{n}{order}" for n in (16, 32) for order in ("", "-be", "-le")), "cp437", "idna"):
        codecs.lookup(text)  # imported when first met in a file
    (place / "own.py").write_text("def train(members, holdout, generator):\n    raise NotImplementedError\n")


def _work(
    name: str, count: int, seed: int, place: Path, saved: Path, answers: multiprocessing.SimpleQueue[Tally]
) -> None:
    """A process of its own for one reader."""
    prepare(place)
    torch.set_num_threads(1)
    pyarrow.set_cpu_count(1)
    logging.disable(logging.CRITICAL)
    sys.stderr = os.fdopen(os.dup(2), "w")
    faulthandler.enable(sys.stderr)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # image libraries write what they think of a file
    warnings.simplefilter("error")  # a warning out of a library is no plain refusal
    for files in READERS[name].good():
        _write(files, place)
        READERS[name].read(place)
    gc.collect()
    limit_memory(MEMORY)
    answers.put(fuzz(READERS[name], count, seed, place, saved))


def counts(total: int) -> dict[str, int]:
    """Inputs of each reader."""
    shares = sum(reader.share for reader in READERS.values())
    found = {name: round(total * reader.share / shares) for name, reader in READERS.items()}
    found["tensors"] += total - sum(found.values())
    return found


def main() -> int:
    """Fuzz every reader and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("count", type=int, nargs="?", default=COUNT, help="inputs, over all readers")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations")
    parser.add_argument("--only", choices=READERS, help="this reader alone, with all of the inputs")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--findings", type=Path, default=Path("runs/fuzz"), help="where such inputs are saved")
    settings = parser.parse_args()
    waiting = list(({settings.only: settings.count} if settings.only else counts(settings.count)).items())
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    scratch = Path(os.path.realpath(tempfile.mkdtemp(prefix="fuzz-", dir=memory)))
    context, answers = multiprocessing.get_context("spawn"), multiprocessing.get_context("spawn").SimpleQueue()
    running: dict[str, multiprocessing.process.BaseProcess] = {}
    tallies: list[Tally] = []
    begin = time.monotonic()
    print("reader              inputs  accepted  refused  seconds  slowest MiB more findings")
    while waiting or running:
        while waiting and len(running) < settings.jobs:
            name, count = waiting.pop(0)
            place = scratch / name.replace(" ", "_")
            place.mkdir()
            work = (name, count, settings.seed, place, settings.findings.absolute(), answers)
            running[name] = context.Process(target=_work, args=work, daemon=True)
            running[name].start()
        time.sleep(0.05)
        while not answers.empty():
            tallies.append(answers.get())
            _print(tallies[-1])
        for name in [name for name, process in running.items() if process.exitcode is not None]:
            exitcode = running.pop(name).exitcode
            if exitcode:
                tallies.append(Tally(name, findings=Counter([f"the process ended with {exitcode}"])))
                shutil.copytree(
                    scratch / name.replace(" ", "_"),
                    settings.findings / name.replace(" ", "_") / "crash",
                    dirs_exist_ok=True,
                )
                _print(tallies[-1])
    while not answers.empty():
        tallies.append(answers.get())
        _print(tallies[-1])
    n, seconds = sum(one.inputs for one in tallies), sum(one.seconds for one in tallies)
    total = sum((one.findings for one in tallies), Counter[str]())
    print(
        f"{n:,} inputs in {time.monotonic() - begin:.0f} s of the clock, {seconds:.0f} s of a processor: "
        f"{n / max(seconds, 1e-9):,.0f} a second of it"
    )
    print(f"most memory of a process (VmHWM): {max(one.memory for one in tallies) / 2**20:,.0f} MiB")
    print(f"{total.total():,} findings")
    versions = f"python {sys.version.split()[0]}, torch {torch.__version__}, pyarrow {pyarrow.__version__}"
    print(f"{versions}, {os.cpu_count()} processors")
    shutil.rmtree(scratch)
    return int(bool(total))


def _print(tally: Tally) -> None:
    n = max(tally.inputs, 1)
    print(
        f"{tally.name:16}{tally.inputs:>10,}{tally.accepted / n:>10.1%}{tally.refused / n:>9.1%}{tally.seconds:>9.1f}"
        f"{tally.slowest:>9.2f}{tally.growth / 2**20:>9,.0f}{tally.findings.total():>9,}",
        flush=True,
    )
    for what, times in tally.findings.most_common():
        print(f"    {times:,} x {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
