"""The similarity index beside bare hnswlib and exact NumPy: speed, recall, size and start-up.

Vectors are seeded and clustered. What is compared takes turns in the same run, so that other work on the
machine falls on all of it.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
import hnswlib
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from app.core.collection import Hit
from app.index.local import LocalStorage
from app.index.storage import Declaration, ItemRegion, Matrix, NewItem, Query

NAME = "benchmark"
SPACE = "clustered"
K = 10
QUERIES = 1000
# Engines take turns after so many queries, which is enough to fill the processor's caches.
TURN = 100
BATCH = 100
SINCE_SNAPSHOT = 1000

Answers = list[list[int]]
Engine = Callable[[Matrix], Answers]


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds of single queries, and queries a second of two threads and of batches."""

    single: list[float]
    two_threads: float
    batches: float

    @property
    def one_thread(self) -> float:
        return len(self.single) / sum(self.single)

    def percentile_ms(self, percent: int) -> float:
        return statistics.quantiles(self.single, n=100)[percent - 1] * 1000


@click.command()
@click.option(
    "--vectors",
    multiple=True,
    default=(10_000, 100_000),
    show_default=True,
    type=click.IntRange(2000),
    help="How many; can be given several times.",
)
@click.option("--dimensions", default=512, show_default=True, type=click.IntRange(2, 16_000))
def index(vectors: tuple[int, ...], dimensions: int) -> None:
    """The local similarity index beside bare hnswlib and exact NumPy."""
    console = Console(width=140)
    console.print(f"{os.cpu_count()} cores; {dimensions} dimensions; k = {K}; {QUERIES} queries")
    for count in vectors:
        with tempfile.TemporaryDirectory() as scratch:
            report(console, Path(scratch) / "index", count, dimensions)


def report(console: Console, folder: Path, count: int, dimensions: int) -> None:
    console.rule(f"{count:,} vectors")
    compare(console, folder, count, dimensions)
    compare_starts(console, folder, count, dimensions)


def compare(console: Console, folder: Path, count: int, dimensions: int) -> None:
    """Fill an index, and search it in turns with the others."""
    given = clustered(count, dimensions, seed=1)
    queries = clustered(QUERIES, dimensions, seed=2)
    units, unit_queries = unit(given), unit(queries)

    storage = LocalStorage(folder)
    storage.create(Declaration(NAME, "none", {}))
    started = time.perf_counter()
    for start in range(0, count, BATCH):
        storage.add(NAME, items(given, start, start + BATCH), SPACE)
    added = time.perf_counter() - started
    settle(storage)
    settled = time.perf_counter() - started

    started = time.perf_counter()
    bare = hnswlib.Index(space="ip", dim=dimensions)
    bare.init_index(count, M=16, ef_construction=100)
    bare.add_items(units, np.arange(count))
    bare.set_ef(50)
    built = time.perf_counter() - started

    def ours(some: Matrix) -> Answers:
        return [[int(hit.id) for hit in hits] for hits in storage.search(NAME, some, Query(k=K))]

    def hnsw(some: Matrix) -> Answers:
        labels, _ = bare.knn_query(some, K, num_threads=1 if len(some) == 1 else -1)
        found: Answers = labels.tolist()
        return found

    def exact(some: Matrix) -> Answers:
        cosines = (units @ some[0])[np.newaxis] if len(some) == 1 else some @ units.T
        best = np.argpartition(cosines, -K, axis=1)[:, -K:]
        order = np.argsort(-np.take_along_axis(cosines, best, axis=1), axis=1)
        found: Answers = np.take_along_axis(best, order, axis=1).tolist()
        return found

    def searched(some: Matrix) -> list[list[Hit]]:
        return storage.search(NAME, some, Query(k=K))

    truth = exact(unit_queries)
    recalls = recall(ours(unit_queries), truth), recall(hnsw(unit_queries), truth)
    speeds = measured({"ours": searched, "hnswlib": hnsw, "NumPy": exact}, unit_queries)

    console.print(
        f"added {count / added:,.0f}/s durably in batches of {BATCH}; all in the graph after {settled:.1f} s "
        f"(bare hnswlib alone: {built:.1f} s); recall@{K} {recalls[0]:.4f} (bare {recalls[1]:.4f})"
    )
    console.print(speed_table(speeds))

    storage.close()


def compare_starts(console: Console, folder: Path, count: int, dimensions: int) -> None:
    """Start it in each of the states in which it may be found."""
    on_disk = size(folder, "index.sqlite*"), size(folder / "snapshots", "*")
    snapshot = start_up(folder, dimensions)
    crash(folder, count, dimensions)
    crashed = start_up(folder, dimensions)
    for file in (folder / "snapshots").iterdir():
        file.unlink()
    rebuild = start_up(folder, dimensions)
    console.print(
        f"bytes a vector: database {on_disk[0] / count:,.0f}, snapshot {on_disk[1] / count:,.0f}, "
        f"memory {snapshot['bytes'] / count:,.0f} (its numbers alone: {4 * dimensions:,})"
    )
    table = Table("start-up", "first answer s", "all in the graph s", "first answer / rebuild")
    for name, took in (
        ("with a snapshot", snapshot),
        (f"after kill -9, {SINCE_SNAPSHOT:,} adds since the snapshot", crashed),
        ("without a snapshot: a full rebuild", rebuild),
    ):
        ratio = took["answered"] / rebuild["settled"]
        table.add_row(name, f"{took['answered']:.2f}", f"{took['settled']:.2f}", f"{ratio:.3f}")
    console.print(table)


def speed_table(speeds: dict[str, Speed]) -> Table:
    table = Table("", "one by one /s", "p50 ms", "p99 ms", "two threads /s", f"batches of {BATCH} /s")
    for name, speed in speeds.items():
        table.add_row(
            name,
            f"{speed.one_thread:,.0f}",
            f"{speed.percentile_ms(50):.3f}",
            f"{speed.percentile_ms(99):.3f}",
            f"{speed.two_threads:,.0f}",
            f"{speed.batches:,.0f}",
        )
    ours = speeds["ours"]
    for name in ("hnswlib", "NumPy"):
        other = speeds[name]
        table.add_row(
            f"ours / {name}",
            f"{ours.one_thread / other.one_thread:.2f}",
            f"{other.percentile_ms(50) / ours.percentile_ms(50):.2f}",
            f"{other.percentile_ms(99) / ours.percentile_ms(99):.2f}",
            f"{ours.two_threads / other.two_threads:.2f}",
            f"{ours.batches / other.batches:.2f}",
        )
    return table


def measured(engines: dict[str, Callable[[Matrix], object]], queries: Matrix) -> dict[str, Speed]:
    """The engines in turns, after one round that warms all of them up."""
    single: dict[str, list[float]] = {name: [] for name in engines}
    threads: dict[str, float] = dict.fromkeys(engines, 0.0)
    batches: dict[str, float] = dict.fromkeys(engines, 0.0)
    order = list(engines)
    with ThreadPoolExecutor(2) as pool:
        for counts in (False, True):
            for start in range(0, len(queries), TURN):
                some = queries[start : start + TURN]
                rows = [some[row : row + 1] for row in range(len(some))]
                # Each comes first in its turn.
                order = order[1:] + order[:1]
                for name in order:
                    # BLAS's threads of the one before still spin for a while.
                    time.sleep(0.05)
                    times, both, batch = turn(engines[name], some, rows, pool)
                    if counts:
                        single[name] += times
                        threads[name] += both
                        batches[name] += batch
    return {
        name: Speed(single[name], len(queries) / threads[name], len(queries) / batches[name])
        for name in engines
    }


def turn(
    engine: Callable[[Matrix], object], some: Matrix, rows: list[Matrix], pool: ThreadPoolExecutor
) -> tuple[list[float], float, float]:
    """Seconds of each query by itself, of all by two threads, and of all at once."""

    def half(mine: list[Matrix]) -> None:
        for row in mine:
            engine(row)

    half(rows[:10])
    times = [seconds(engine, row) for row in rows]
    both = seconds(lambda: list(pool.map(half, (rows[::2], rows[1::2]))))
    return times, both, seconds(engine, some)


def seconds(call: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - started


def clustered(count: int, dimensions: int, seed: int) -> Matrix:
    """Vectors around centers that are the same for every seed."""
    centers = np.random.default_rng(0).normal(size=(1000, dimensions)).astype(np.float32)
    rng = np.random.default_rng(seed)
    vectors: Matrix = rng.normal(scale=0.5, size=(count, dimensions)).astype(np.float32)
    vectors += centers[rng.integers(0, len(centers), count)]
    return vectors


def unit(vectors: Matrix) -> Matrix:
    lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: Matrix = vectors / lengths
    return units


def items(vectors: Matrix, start: int, end: int, prefix: str = "") -> list[NewItem]:
    return [
        NewItem(
            f"{prefix}{start + row}", (ItemRegion(vector),), {"cluster": (start + row) % 100, "kind": "photo"}
        )
        for row, vector in enumerate(vectors[start:end])
    ]


def recall(answers: Answers, truth: Answers) -> float:
    return statistics.fmean(len(set(a) & set(t)) / K for a, t in zip(answers, truth, strict=True))


def settle(storage: LocalStorage) -> None:
    while storage.collection(NAME).pending:
        time.sleep(0.02)


def size(folder: Path, pattern: str) -> int:
    return sum(file.stat().st_size for file in folder.glob(pattern))


def start_up(folder: Path, dimensions: int) -> dict[str, float]:
    """Seconds until the first answer and until the graph has all, in a process of its own; and its memory."""
    command = [sys.executable, __file__, "start", str(folder), str(dimensions)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment())
    took: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return took


def crash(folder: Path, count: int, dimensions: int) -> None:
    """Add to the index in another process, which is killed then."""
    command = [sys.executable, __file__, "crash", str(folder), str(dimensions), str(count)]
    done = subprocess.run(command, check=False, env=environment())
    assert done.returncode == -signal.SIGKILL, done.returncode


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}


def started(folder: Path, dimensions: int) -> None:
    """What `start_up` measures."""
    query = clustered(1, dimensions, seed=3)
    before = resident()
    began = time.perf_counter()
    storage = LocalStorage(folder)
    storage.search(NAME, query, Query(k=K))
    answered = time.perf_counter() - began
    settle(storage)
    settled = time.perf_counter() - began
    print(json.dumps({"answered": answered, "settled": settled, "bytes": resident() - before}))
    storage.close()


def crashed(folder: Path, dimensions: int, count: int) -> None:
    storage = LocalStorage(folder)
    vectors = clustered(SINCE_SNAPSHOT, dimensions, seed=4)
    for start in range(0, SINCE_SNAPSHOT, BATCH):
        storage.add(NAME, items(vectors, start, start + BATCH, prefix=f"{count}-"), SPACE)
    os.kill(os.getpid(), signal.SIGKILL)


def resident() -> int:
    """Resident bytes of this process; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["start", folder, dimensions]:
            started(Path(folder), int(dimensions))
        case ["crash", folder, dimensions, count]:
            crashed(Path(folder), int(dimensions), int(count))
