"""The bound: the models of a scenario called directly in one process, without a server, on decoded images.

It reads a number of seconds a line, and answers each with the milliseconds of the images that it did.

    benchmark_bound.py SCENARIO SEED
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO

Times = dict[str, list[float]]


class Bound:
    """The process, from outside."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def measure(self, seconds: float) -> Times:
        """Milliseconds of the forwards on `one_thread`, as on a lane of the server, and on `all_threads`.

        Raises:
            RuntimeError: the process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process of the bare forwards ended; its log says why")
        times: Times = json.loads(line)
        return times


@contextmanager
def bound(scenario: str, seed: int, *, log: IO[bytes], environment: Mapping[str, str]) -> Iterator[Bound]:
    root = Path(__file__).resolve().parent.parent
    process = subprocess.Popen(
        [sys.executable, __file__, scenario, str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root), **environment},
    )
    # It ends when its input does.
    with process:
        yield Bound(process)


def main(name: str, seed: int) -> None:
    # What libraries print is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    from benchmark_images import Photos
    from benchmark_models import Models, decoded, threads
    from benchmark_scenarios import SCENARIOS

    scenario = SCENARIOS[name]
    models, photos, numbers = Models(scenario.engines), Photos(seed), count()
    for line in sys.stdin:
        until = time.perf_counter() + float(line)
        times: Times = {"one_thread": [], "all_threads": []}
        while time.perf_counter() < until or not times["all_threads"]:
            image = decoded(photos.jpeg(next(numbers)))
            for kind, several in (("one_thread", 1), ("all_threads", os.cpu_count() or 1)):
                threads(several)
                times[kind].append(models.at_once(image, scenario.tasks))
        print(json.dumps(times), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
