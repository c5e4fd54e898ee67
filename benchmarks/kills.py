"""Kill -9 at random moments: nothing finished may be lost or repeated, nothing half-written read, no bit may differ.

    python benchmarks/kills.py FOLDER [--engine processes] [--kills 100] [--seed 0]

Jobs share the kills: an `audit` of two defenses that share trainings; an `audit` of somebody's own loop with
`membrane.protect` at its end; `membrane protect run.toml --out`; entries written with `Store.save` one after another;
and an `audit` of two trainings with each engine that trains in other processes (Ray if it is installed). With
`--engine` the audit with that engine gets all of them. Each job runs twice undisturbed, which has to give the same
bits. Then it is started, killed and started again in the same folder until a process gets to its end, and from the
beginning in a new folder, until all kills are spent. Half of the kills come at any moment, half shortly after a file
was begun, where little time is spent and most could go wrong. Where an engine has workers, or a cluster of its own,
kills hit one of these as often as the process that called: the audit then has to go on by itself.

After every kill all files must be whole and those of the undisturbed run, bit for bit but for the seconds that it
notes, and what was finished before must be untouched, its training not begun anew. At a job's end its folder must hold
all files of the undisturbed run, and running it once more must change nothing. Prints the kills and ends with status 1
on any problem; FOLDER/kills is removed if there was none.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from processes import await_draft, drafts, kill, kill_worker, start
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import membrane
from membrane.cli import main as command_line
from membrane.core import MembraneError, Store
from membrane.core.store import read_json, read_tensors
from membrane.core.upkeep import survey
from membrane.data import Digits, Examples, Task, make_task
from membrane.defenses import EarlyStopping, RelaxLoss
from membrane.models import MLP
from membrane.regions import Trail
from membrane.training import Recipe

ENTRY = "store/*/[!.]*.json"
SECONDS = ("seconds", "train_seconds")  # facts that no two runs share
CLOCKS = ("costs.json",)  # files of nothing else
JUST_BEGUN = 0.01  # seconds after a file was begun in which half of the kills come
WORKER_LIVES = 0.5  # seconds, at most, from when there is a worker to when one is killed
MOST_WORKERS = 2  # killed under one process: the third death over the same model is an error that names it
N_ENTRIES = 150
RUN_FILE = """\
data = { name = "digits", test = 297 }
model = { name = "mlp", widths = [32, 32] }
recipe = { epochs = 6, lr = 0.1, batch_size = 50 }
defenses = [{ name = "pptp", max_accuracy_drop = 0.05, max_candidates = 10 }]
audit = { references = 4, holdout = 500, pool = 1000 }
"""


def task(holdout: int) -> Task:
    """Four models, 500 members each."""
    digits = Digits(test=297).load()
    return make_task(digits, n_models=4, pool=1000, holdout=holdout, canaries=20, seed=0)


def run_audit(out: Path) -> None:
    """Two defenses that share trainings."""
    torch.set_num_threads(1)
    plain = Recipe(model=MLP((32, 32)), epochs=20, batch_size=50, lr=0.1)
    membrane.audit({"undefended": plain, "early": plain.with_defense(EarlyStopping(3))}, task(0), out=out, seed=1)


def run_processes(out: Path) -> None:
    """Two defenses with trainings of their own, in two workers, which have to end with the process that is killed."""
    torch.set_num_threads(1)
    plain = Recipe(model=MLP((32, 32)), epochs=20, batch_size=50, lr=0.1)
    trains = {"undefended": plain, "relaxed": plain.with_defense(RelaxLoss(0.2))}
    membrane.audit(trains, task(0), out=out, seed=1, engine="processes", workers=2)


def run_ray(out: Path) -> None:
    """The same on a Ray cluster of this machine, started for it."""
    torch.set_num_threads(1)
    plain = Recipe(model=MLP((32, 32)), epochs=20, batch_size=50, lr=0.1)
    trains = {"undefended": plain, "relaxed": plain.with_defense(RelaxLoss(0.2))}
    membrane.audit(trains, task(0), out=out, seed=1, engine="ray", workers=2)


def own_loop(members: Examples, holdout: Examples, generator: torch.Generator) -> nn.Module:
    """Somebody's plain loop with protection at its end; notes what it begins to train on in the working folder."""
    with Path("begun").open("ab", buffering=0) as notes:
        notes.write(f"{members.checksum()}\n".encode())
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        train_set, kept_out = (TensorDataset(part.x.float() / 255, part.y) for part in (members, holdout))
        trail = Trail(model, optimizer=optimizer)
        for _epoch in range(8):
            for x, y in DataLoader(train_set, batch_size=50, shuffle=True):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
            trail.snapshot()
        return membrane.protect(model, trail, train_set, kept_out, membrane.Budget(0.05), max_candidates=10).model


def run_own_loop(out: Path) -> None:
    """The loop above as every reference model's."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    os.chdir(out)
    membrane.audit(own_loop, task(500), out=out, seed=1)


def run_protect(out: Path) -> None:
    """A release from the command line; it refuses to make another one in its folder."""
    torch.set_num_threads(1)
    file = out.with_suffix(".toml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(RUN_FILE)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        status = command_line(["protect", str(file), "--out", str(out), "--quiet"])
    if status and not (status == 2 and (out / "run.json").exists()):
        raise RuntimeError(f"membrane protect ended with {status}")


def run_saves(out: Path) -> None:
    """Entries of many sizes, those that are there left alone."""
    store = Store(out / "store")
    for number in range(N_ENTRIES):
        if not store.has("numbers", str(number)):
            dice = random.Random(number)
            numbers = torch.arange(dice.choice((10, 10_000, 300_000)), dtype=torch.float32)
            store.save("numbers", str(number), {"all": numbers + number}, {"number": number})


@dataclass(frozen=True)
class Job:
    """Something to kill.

    Args:
        name: What it is called in the output.
        work: Does it in a folder, going on where that was left.
        finished: Pattern of files whose existence says that something is finished.
        goes_on: Whether a second process goes on where a first was killed, or starts anew.
        crew: Whether it has processes of its own, which write too.
        engine: Whose job it is, if it is that of one.
    """

    name: str
    work: Callable[[Path], None]
    finished: str = ENTRY
    goes_on: bool = True
    crew: bool = False
    engine: str | None = None


JOBS = (
    Job("audit", run_audit, engine="in_process"),
    Job("audit of an own loop with protect", run_own_loop),
    Job("membrane protect", run_protect, "run.json", goes_on=False),
    Job("Store.save", run_saves),
    Job("audit with engine processes", run_processes, crew=True, engine="processes"),
    *([Job("audit with engine ray", run_ray, crew=True, engine="ray")] if importlib.util.find_spec("ray") else []),
)


def files(out: Path) -> dict[str, Path]:
    """All files but hidden ones, by their path in the folder."""
    paths = sorted(path for path in out.rglob("[!.]*") if path.is_file())
    return {str(path.relative_to(out)): path for path in paths}


def finished(job: Job, out: Path) -> dict[str, int]:
    """When each finished thing was written, its tensors too, in nanoseconds; they must stay as they are."""
    paths = list(out.glob(job.finished))
    paths += [path.with_suffix(".safetensors") for path in paths if path.with_suffix(".safetensors").exists()]
    return {str(path): path.stat().st_mtime_ns for path in paths}


def begun(out: Path) -> list[str]:
    """Checksums of the members that the own loop began to train on, one for each time."""
    return (out / "begun").read_text().split() if (out / "begun").exists() else []


def done_rows(out: Path) -> set[int]:
    """Models whose signals are finished."""
    return {read_json(path)["facts"]["row"] for path in out.glob("store/release/[!.]*.json")}


def damage(out: Path) -> Iterator[str]:
    """What cannot be read."""
    for name, path in files(out).items():
        try:
            if path.suffix == ".safetensors":
                read_tensors(path)
            elif path.suffix == ".json":
                read_json(path)
            if path.name == "trail.json":
                Trail.load(path.parent)
        except MembraneError as problem:
            yield f"{name}: {problem}"
    yield from Store(out / "store").verify()


def content(path: Path) -> Any:  # noqa: ANN401 -- bytes, or what JSON holds
    """What two runs share of a file."""
    if path.name in CLOCKS:
        return None
    if path.suffix != ".json" or path.name == "results.json":
        return path.read_bytes()
    try:
        return _timeless(read_json(path))
    except MembraneError as problem:
        return str(problem)


def _timeless(plain: Any) -> Any:  # noqa: ANN401 -- any JSON value
    if isinstance(plain, list):
        return [_timeless(one) for one in plain]
    if isinstance(plain, dict):
        return {key: _timeless(value) for key, value in plain.items() if key not in SECONDS}
    return plain


def differences(out: Path, whole: Path, *, ended: bool) -> Iterator[str]:
    """How a folder that saw kills differs from one that did not; files may be missing if the job has not ended."""
    mine, theirs = ({name: path for name, path in files(one).items() if name != "begun"} for one in (out, whole))
    alone = mine.keys() ^ theirs.keys() if ended else mine.keys() - theirs.keys()
    yield from (f"{name} is in one run only" for name in sorted(alone))
    yield from (
        f"{name} differs from the undisturbed run's"
        for name in sorted(mine.keys() & theirs.keys())
        if content(mine[name]) != content(theirs[name])
    )


class Round:
    """One job in one folder, killed until it is finished.

    Args:
        job: To do.
        out: Folder to do it in; another for each round.
        whole: Folder of the undisturbed run.
        seconds: That the undisturbed run took.
    """

    def __init__(self, job: Job, out: Path, whole: Path, seconds: float) -> None:
        self.job, self.out, self.whole, self.seconds = job, out, whole, seconds

    def disturb(self, dice: random.Random, counts: Counter[str], most: int) -> tuple[bool, list[str]]:
        """Start the job and kill it, some of its workers first; whether it got to its end, and problems.

        Args:
            dice: Whom and when.
            counts: What is done is added to these.
            most: Kills that are left to be spent.
        """
        before, n_begun, old = finished(self.job, self.out), len(begun(self.out)), drafts(self.out)
        rows = done_rows(self.out) if n_begun else set()
        process = start(self.job.work, self.out, daemon=not self.job.crew)
        for _ in range(dice.randint(0, min(MOST_WORKERS, most - 1)) if self.job.crew else 0):
            counts["kills"] += 1
            counts["of workers"] += kill_worker(process, dice, WORKER_LIVES)
        time.sleep(dice.uniform(0, self.seconds * (0.6 if self.job.goes_on else 0.8)))
        if dice.random() < 0.5:
            await_draft(self.out, process, own=not self.job.crew)
            time.sleep(dice.uniform(0, JUST_BEGUN))
        hit = kill(process)
        counts["kills"] += 1
        counts["hits"] += hit
        counts["in the middle of a file"] += hit and not drafts(self.out) <= old
        problems = [*damage(self.out), *differences(self.out, self.whole, ended=False), *self._touched(before)]
        if rows:
            known = {task(500).members(row).checksum() for row in rows}
            again = known & set(begun(self.out)[n_begun:])
            problems += [f"a finished model was trained again, on {members}" for members in sorted(again)]
        return not hit, problems

    def _touched(self, before: dict[str, int]) -> list[str]:
        after = finished(self.job, self.out)
        gone = [path for path, time_ns in before.items() if time_ns != after.get(path)]
        return [f"{path}, finished before, was lost or written again" for path in gone]

    def end(self, *, ended: bool) -> list[str]:
        """Run what is left if a process has not ended, compare, and run once more in vain."""
        problems = [] if ended else self._run()
        problems += [*damage(self.out), *differences(self.out, self.whole, ended=True)]
        if (self.out / "store").exists():
            left = survey(Store(self.out / "store"))
            problems += [f"left over in the store: {path}" for path in (*left.orphans, *left.drafts)]
        before, n_begun = finished(self.job, self.out), len(begun(self.out))
        problems += [*self._run(), *self._touched(before), *differences(self.out, self.whole, ended=True)]
        if len(begun(self.out)) > n_begun:
            problems.append("a finished audit trained again")
        return problems

    def _run(self) -> list[str]:
        process = start(self.job.work, self.out, daemon=not self.job.crew)
        process.join()
        return [f"ended with {process.exitcode}"] if process.exitcode else []


def undisturbed(job: Job, folder: Path) -> tuple[Path, float]:
    """Folder and seconds of a run that nothing kills, the second one: the first also waits for imports."""
    for name in ("warm", "whole"):
        out = folder / name
        begin = time.monotonic()
        process = start(job.work, out, daemon=not job.crew)
        process.join()
        seconds = time.monotonic() - begin
        if process.exitcode:
            raise RuntimeError(f"{job.name} ended with {process.exitcode} although nothing killed it")
    differ = list(differences(folder / "warm", out, ended=True))
    if differ:
        raise RuntimeError(f"two undisturbed runs of {job.name} differ: {differ}")
    return out, seconds


def main() -> int:
    """Kill, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="where the jobs may write for the time being")
    parser.add_argument("--engine", choices=[job.engine for job in JOBS if job.engine], help="kill only its audit")
    parser.add_argument("--kills", type=int, default=100, help="over all jobs together")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    settings = parser.parse_args()
    folder = settings.folder.absolute() / "kills"
    begin, dice, problems = time.monotonic(), random.Random(settings.seed), []
    jobs = [job for job in JOBS if settings.engine in (None, job.engine)]
    counts: dict[str, Counter[str]] = {job.name: Counter() for job in jobs}
    for i, job in enumerate(jobs):
        whole, seconds = undisturbed(job, folder / str(i))
        print(f"{job.name}: {seconds:.1f} s and {len(files(whole))} files undisturbed", flush=True)
        place, count = Round(job, folder / str(i) / "0", whole, seconds), counts[job.name]
        share = len(range(i, settings.kills, len(jobs)))
        while count["kills"] < share:
            ended, found = place.disturb(dice, count, share - count["kills"])
            if ended or count["kills"] == share:
                found += place.end(ended=ended)
                count["rounds"] += 1
                count["drafts left outside stores"] += len(drafts(place.out))
                place = Round(job, folder / str(i) / str(count["rounds"]), whole, seconds)
            problems += [f"{job.name}, kill {count['kills']}: {problem}" for problem in found]
        print(f"  {_told(count)}", flush=True)
    total = sum(counts.values(), Counter())
    print(f"together: {_told(total)}, in {time.monotonic() - begin:.0f} s")
    print(f"{len(problems):,} problems")
    for problem in problems[:20]:
        print(f"  {problem}")
    print(f"torch {torch.__version__}, {os.cpu_count()} processors")
    if not problems:
        shutil.rmtree(folder)
    return int(bool(problems))


def _told(count: Counter[str]) -> str:
    return (
        f"{count['kills']} kills sent, {count['hits']} hit a working process and {count['of workers']} a worker, "
        f"{count['in the middle of a file']} with a file half written; {count['rounds']} runs ended as the undisturbed "
        f"one, {count['drafts left outside stores']} drafts left outside stores"
    )


if __name__ == "__main__":
    sys.exit(main())
