"""Scoring against the usual ways to do it, against the machine's memory, and on a bank larger than memory may be.

    python benchmarks/scoring.py FOLDER [--models 256] [--examples 60000] [--queries 18] [--limit-gib 2] [--only lira]

One run, one machine, one thread: both sides of a ratio are timed in turns and the fastest of each counts. The usual
ways are restated here in our words, doing what published tools do: for LiRA a loop over examples that splits the
reference values into IN and OUT lists and asks scipy.stats.norm for each; for RMIA the N x Z matrix of ratios. Both
must give the same scores as ours, or the run ends with status 1; so it does if a bar is missed.

    lira    64 models x 5 000 examples: one target, and all 64 in the time that the loop takes for one
    rmia    10 000 examples x 10 000 strangers, and the same ROC
    votes   the same with 18 queries and a majority, in the memory of one block
    big     float32 signals of 256 models x 60 000 examples x 18 queries, memory-mapped from FOLDER (2.6 GB written,
            and removed), every model as target: peak of resident memory, VmHWM of a process of its own, in which
            mapped pages count until they are given back; and how far from reading each byte as fast as memory can
    peers   PrivacyGuard's LiRA and RMIA, if `privacy_guard` can be imported; else why not
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from membrane.attacks import ATTACKS, Lineup, LiRA
from membrane.attacks.rmia_offline import OfflineRMIA, share_beaten
from membrane.attacks.rmia_vote import pairs_won
from membrane.core.generators import numpy_generator
from membrane.core.values import SIGNAL_KINDS, Bools, Floats, Observation, Signals
from membrane.metrics import roc

Array = npt.NDArray[np.float64]
PARTS = ("lira", "rmia", "votes", "big", "peers")
BIG_ATTACKS = ("loss", "midpoint", "lira", "lira_offline", "lira_student", "base", "rmia_offline", "rmia")
STRANGERS = 10_000
missed: list[str] = []


def fastest(*ways: Callable[[], object], rounds: int = 5) -> list[float]:
    """Seconds of the fastest of several rounds of each, taken in turns so that a busy machine slows all."""
    best = [float("inf")] * len(ways)
    for _ in range(rounds):
        for i, way in enumerate(ways):
            start = time.perf_counter()
            way()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def bar(text: str, kept: bool) -> None:
    """Print a line, and remember a missed bar."""
    print(f"{text}   {'kept' if kept else 'MISSED'}", flush=True)
    if not kept:
        missed.append(text)


def pairs(n_models: int, n: int, seed: int) -> Bools:
    """Membership in complementary halves."""
    half = numpy_generator(seed, "membership").random((n_models // 2, n)) < 0.5
    return np.stack([half, ~half], axis=1).reshape(n_models, n)


def line_up(n_models: int, n: int, n_strangers: int, n_queries: int = 1) -> Lineup:
    """A bank with a leak: examples differ in difficulty and in how well they were learnt."""
    rng = numpy_generator(0, "signals")
    membership = pairs(n_models, n, 0)
    learnt = 1.5 * rng.gamma(1.0, 1.0, size=n)
    logit = 3 * rng.normal(size=(n, 1)) + rng.normal(size=(n_models, n, n_queries))
    logit += (learnt * membership)[..., None]
    stranger = 3 * rng.normal(size=(n_strangers, 1)) + rng.normal(size=(n_models, n_strangers, n_queries))
    return Lineup(signals(logit), membership, np.zeros(n, np.int64), signals(stranger))


def signals(logit: Array) -> Signals:
    """Loss and rescaled logit, float32; the rest is not read here."""
    logits = logit.astype(np.float32)
    kinds = dict.fromkeys(SIGNAL_KINDS, logits)
    return Signals(**kinds | {"loss": np.logaddexp(0, -logit).astype(np.float32)})


def lira_by_loop(seen: Observation) -> Array:
    """Example by example: two lists, two means, two Gaussians; standard deviations per example."""
    scores = []
    for n in range(len(seen.labels)):
        inside, outside = [], []
        for value, is_in in zip(seen.reference.rescaled_logit[:, n, 0], seen.in_reference[:, n], strict=True):
            (inside if is_in else outside).append(float(value))
        logit = float(seen.target.rescaled_logit[n, 0])
        as_member = norm.logpdf(logit, np.mean(inside), np.std(inside, ddof=1))
        scores.append(as_member - norm.logpdf(logit, np.mean(outside), np.std(outside, ddof=1)))
    return np.array(scores)


def run_lira() -> None:
    """Bars: 50 times for one target, all 64 targets faster than the loop's one."""
    line = line_up(64, 5_000, 1)
    attack, seen = LiRA(variance="per_example"), line.observe(0)
    np.testing.assert_allclose(attack(seen), lira_by_loop(seen), rtol=1e-9, atol=1e-9)
    (loop,) = fastest(lambda: lira_by_loop(seen), rounds=2)
    one, every = fastest(lambda: attack(seen), lambda: attack.against_all(line))
    print(
        f"LiRA, 64 models x 5 000 examples: loop {loop:.2f} s, one target {one * 1e3:.1f} ms, all {every * 1e3:.0f} ms"
    )
    bar(f"  one target {loop / one:.0f} times as fast as the loop (bar 50)", loop / one >= 50)
    bar(f"  all 64 targets in {every / loop:.2f} of the loop's time for one (bar 1)", every < loop)
    print(f"  target by target: {loop * 64 / every:.0f} times")


def share_by_matrix(log_x: Array, log_z: Array) -> Array:
    """All N x Z ratios, compared with 1 and averaged."""
    share: Array = (np.exp(log_x)[:, None] / np.exp(log_z)[None] >= 1).mean(axis=1)
    return share


def run_rmia() -> None:
    """Bars: 100 times; the matrix's ROC is the one of the whole shares."""
    rng = numpy_generator(0, "ratios")
    n = STRANGERS
    log_z = np.round(rng.normal(size=n), 4)  # ties among all, as rounded probabilities have
    is_member = rng.random(n) < 0.5
    log_x = np.round(rng.normal(size=n) + is_member, 4)
    by_matrix, by_sorting = share_by_matrix(log_x, log_z), share_beaten(log_x, log_z, 1.0)
    whole = np.floor(by_sorting * n + 1e-6) / n
    one, other = roc(by_matrix, is_member), roc(whole, is_member)
    same = np.array_equal(one.fpr, other.fpr) and np.array_equal(one.tpr, other.tpr)
    (matrix,) = fastest(lambda: share_by_matrix(log_x, log_z), rounds=2)
    (sort,) = fastest(lambda: share_beaten(log_x, log_z, 1.0))
    print(f"RMIA, 10 000 x 10 000: matrix {matrix:.2f} s and 800 MB, sorting {sort * 1e3:.2f} ms")
    bar(f"  {matrix / sort:.0f} times as fast (bar 100)", matrix / sort >= 100)
    bar(f"  ROC of the shares identical: {same}", same)


def run_votes() -> None:
    """N x Z x Q comparisons of ranks in blocks, against the same comparisons of floats."""
    rng = numpy_generator(0, "votes")
    log_x, log_z = rng.normal(size=(STRANGERS, 18)), rng.normal(size=(STRANGERS, 18))
    few = slice(0, 500)
    by_matrix = ((log_x[few, None] >= log_z[None]).sum(axis=2) > 9).sum(axis=1)
    bar("RMIA by majority of 18 queries: same votes", np.array_equal(pairs_won(log_x[few], log_z), by_matrix))
    (matrix,) = fastest(lambda: ((log_x[few, None] >= log_z[None]).sum(axis=2) > 9).sum(axis=1), rounds=2)
    (ours,) = fastest(lambda: pairs_won(log_x, log_z), rounds=2)
    print(f"  10 000 x 10 000: {ours:.1f} s; by comparing floats {20 * matrix:.1f} s (from 500 x 10 000)")


def generate(folder: Path, n_models: int, n: int, n_queries: int) -> None:
    """Signals of a bank, model by model: loss and rescaled logit of N examples and of 10 000 strangers, float32."""
    rng = numpy_generator(0, "big bank")
    np.save(folder / "membership.npy", pairs(n_models, n, 0))
    membership = np.load(folder / "membership.npy")
    shapes = {"pool": (n_models, n, n_queries), "test": (n_models, STRANGERS, n_queries)}
    files = {
        (part, kind): np.lib.format.open_memmap(folder / f"{part}-{kind}.npy", "w+", np.float32, shape)
        for part, shape in shapes.items()
        for kind in ("loss", "rescaled_logit")
    }
    base = {part: 3 * rng.normal(size=(shape[1], 1)) for part, shape in shapes.items()}
    learnt = 1.5 * rng.gamma(1.0, 1.0, size=n)
    for row in range(n_models):
        for part, shape in shapes.items():
            logit = base[part] + rng.standard_normal(shape[1:], dtype=np.float32)
            logit += (learnt * membership[row])[:, None] if part == "pool" else 0.0
            files[part, "rescaled_logit"][row] = logit
            files[part, "loss"][row] = np.logaddexp(0, -logit)


def status(field: str) -> int:
    """Bytes of a line of /proc/self/status."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024


def bandwidth() -> float:
    """Bytes a second at which one thread reads memory: a sum over 256 MB of float32."""
    values = np.ones(1 << 26, dtype=np.float32)
    return values.nbytes / fastest(lambda: values.sum())[0]


def score_big(folder: Path) -> None:
    """In a process of its own: score a bank that lies on disk, attack by attack; print peak and speed."""
    start = status("VmHWM")
    read: dict[str, Floats] = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*-*.npy")}

    def of(part: str) -> Signals:
        kinds = dict.fromkeys(SIGNAL_KINDS, read[f"{part}-rescaled_logit"])
        return Signals(**kinds | {"loss": read[f"{part}-loss"]})

    membership = np.load(folder / "membership.npy")
    line = Lineup(of("pool"), membership, np.zeros(membership.shape[1], np.int64), of("test"))
    n_bytes, total = read["pool-loss"].nbytes, 0.0
    print(f"  imports and an empty process {start / 2**20:.0f} MiB; one signal of the bank {n_bytes / 1e9:.2f} GB")
    for name in BIG_ATTACKS:
        begin = time.perf_counter()
        scores = ATTACKS.make(name).against_all(line)
        total += time.perf_counter() - begin
        drawn = slice(0, membership.shape[1], 20)
        area = auc_of(scores[:, drawn], membership[:, drawn])
        print(
            f"  {name:13s} {time.perf_counter() - begin:6.1f} s   AUC {area:.3f}   peak so far "
            f"{status('VmHWM') / 2**20:5.0f} MiB",
            flush=True,
        )
    # Each file has to be read once at least; every attack here reads it two to four times.
    files = sum(values.nbytes for values in read.values())
    limit = files / bandwidth()
    print(f"  {total:.0f} s for {len(BIG_ATTACKS)} attacks; reading every byte once from memory takes {limit:.2f} s")
    print(f"  that is {total / len(BIG_ATTACKS) / limit:.0f} times the physical limit for an attack on average")
    print(f"PEAK {status('VmHWM')}")


def auc_of(scores: Array, membership: Bools) -> float:
    """Area under the pooled ROC."""
    curve = roc(scores.ravel(), membership.ravel())
    return float(np.trapezoid(curve.tpr, curve.fpr))


def run_big(folder: Path, n_models: int, n: int, n_queries: int, limit_gib: float) -> None:
    """Bar: the peak of resident memory, everything included."""
    place = folder / "scoring"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        generate(place, n_models, n, n_queries)
        print(f"Bank of {n_models} models x {n:,} examples x {n_queries} queries, memory-mapped:", flush=True)
        command = [sys.executable, __file__, str(place), "--score"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        *lines, last = done.stdout.splitlines()
        print("\n".join(lines))
        peak = int(last.split()[1]) / 2**30
        bar(f"  peak of resident memory {peak:.2f} GiB (bar {limit_gib:g})", peak <= limit_gib)
    finally:
        shutil.rmtree(place)


def run_peers() -> None:
    """The same data through PrivacyGuard's RMIA; its tables are made before the clock starts.

    Its LiRA takes means and standard deviations that its user has computed, so there is nothing to compare.
    """
    try:
        import pandas as pd
        from privacy_guard.analysis.mia.aggregate_analysis_input import AggregationType
        from privacy_guard.attacks.rmia_attack import RmiaAttack
    except ImportError as problem:
        print(f"Peers skipped: {problem}. `pip install privacyguard-platform` gives one.")
        return
    seen = line_up(16, STRANGERS, STRANGERS).observe(0)

    def table(target: Signals, reference: Signals, is_in: Bools) -> pd.DataFrame:
        columns = {"user_id": np.arange(len(target.loss)), "score_orig": np.exp(-target.loss[:, 0])}
        for row, member in enumerate(is_in):
            columns |= {f"score_ref_{row}": np.exp(-reference.loss[row, :, 0]), f"member_ref_{row}": member}
        return pd.DataFrame(columns)

    everybody = table(seen.target, seen.reference, seen.in_reference)
    nobody = np.zeros(seen.population_reference.shape[:2], dtype=bool)
    strangers = table(seen.population, seen.population_reference, nobody)
    halves = everybody[::2], everybody[1::2]

    def theirs() -> None:
        RmiaAttack(*halves, strangers, AggregationType.MAX, num_reference_models=len(nobody) // 2).run_attack()

    peer, ours = fastest(theirs, lambda: OfflineRMIA()(seen), rounds=2)
    print(
        f"PrivacyGuard's RMIA, 10 000 x 10 000, 14 references: {peer:.2f} s; ours {ours * 1e3:.0f} ms, checks included"
    )
    print(f"  {peer / ours:.0f} times as fast")


def main() -> int:
    """Run the parts asked for; 1 if a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=int, default=256)
    parser.add_argument("--examples", type=int, default=60_000)
    parser.add_argument("--queries", type=int, default=18)
    parser.add_argument("--limit-gib", type=float, default=2.0)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--score", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.score:
        score_big(given.folder)
        return 0
    runs: dict[str, Callable[[], None]] = {
        "lira": run_lira,
        "rmia": run_rmia,
        "votes": run_votes,
        "big": lambda: run_big(given.folder, given.models, given.examples, given.queries, given.limit_gib),
        "peers": run_peers,
    }
    for part in PARTS:
        if given.only in (None, part):
            runs[part]()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
