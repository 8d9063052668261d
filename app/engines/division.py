"""How the cores are best divided: many lanes of one thread each, or fewer of several.

Measured on two cores: two lanes of one thread give 1.5 to 1.8 times the items a second of one lane of two
threads. Where cores share what they compute with, as two threads of one core do, and where the memory is
slow, the best is elsewhere; and a container may allow less than the cores that it shows.
"""

import multiprocessing
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import NamedTuple

# What another division must gain over lanes of one thread each: what else runs on the machine moves the
# figures, too.
_GAIN = 1.2
# A call that is alone has more threads unless they are clearly slower: a whole model gains more of them than
# the one layer that is measured, what else runs meanwhile slows them most, and cores that stand idle cost
# nothing.
_CLEARLY_SLOWER = 0.75
# Further ones gain a call of one image little, and each lane keeps those that it had once.
_MOST_THREADS_ALONE = 8
_ROUNDS = 5
_ROUND_SECONDS = 0.05
# A process that imports torch on a busy machine.
_PATIENCE_SECONDS = 60.0


class Division(NamedTuple):
    """Lanes that compute at once, and the threads of each."""

    lanes: int
    threads: int


Rates = Mapping[Division, float]
"""Calls a second of all lanes of a division together."""


def divisions(cores: int) -> list[Division]:
    """Those that use all cores, the fewest lanes first."""
    return [Division(lanes, cores // lanes) for lanes in range(1, cores + 1) if cores % lanes == 0]


def best_division(rates: Rates) -> Division:
    """The one with the most calls a second, where that is clearly more than one-thread lanes have."""
    cores = max(each.lanes * each.threads for each in rates)
    found = [each for each in rates if each.lanes * each.threads == cores]
    single = next(each for each in found if each.threads == 1)
    best = max(found, key=lambda each: rates[each])
    return best if rates[best] > _GAIN * rates[single] else single


def fastest_call(rates: Rates) -> int:
    """The threads on which a call that is alone takes least; one where more are clearly slower."""
    alone = {each.threads: rate for each, rate in rates.items() if each.lanes == 1}
    alone[1] *= _CLEARLY_SLOWER
    return max(alone, key=lambda threads: alone[threads] if threads <= _MOST_THREADS_ALONE else -1.0)


def elsewhere_measured(cores: int) -> Rates:
    """The same as `measured_divisions`, in a process of its own: threads that OpenMP had once change how it
    waits for those that it has later.

    Raises:
        RuntimeError: threads, memory or processes are short, or it takes too long.
    """
    spawn = multiprocessing.get_context("spawn")
    receiving, sending = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_send_rates, args=(cores, sending), daemon=True)
    try:
        process.start()
        sending.close()
        if not receiving.poll(_PATIENCE_SECONDS):
            raise RuntimeError(f"it takes more than {_PATIENCE_SECONDS:g} s")
        rates: Rates = receiving.recv()
    except (EOFError, OSError) as error:
        raise RuntimeError("the process that measures ended too soon") from error
    finally:
        receiving.close()
        if process.pid is not None:
            process.kill()
            process.join()
    return rates


def _send_rates(cores: int, to: Connection) -> None:
    to.send(measured_divisions(cores))


def measured_divisions(cores: int) -> Rates:
    """Measure each, and calls alone on as many threads, with what is like a layer of a vision transformer;
    about a quarter of a second for each.

    Raises:
        RuntimeError: threads or memory are short.
    """
    import torch

    before = torch.get_num_threads()
    all_cores = divisions(cores)
    rates: dict[Division, list[float]] = {each: [] for each in all_cores}
    rates |= {Division(1, each.threads): [] for each in all_cores if each.threads <= _MOST_THREADS_ALONE}
    try:
        # In turns, so that what else the machine does falls on all of them.
        for _ in range(_ROUNDS):
            for division, found in rates.items():
                found.append(_rate(division))
    finally:
        torch.set_num_threads(before)
    # Other work on the machine only takes some away.
    return {division: max(found) for division, found in rates.items()}


def _rate(division: Division) -> float:
    import torch

    # ViT-B/32 on one image: 50 tokens of 768 numbers through the larger half of a layer.
    tokens = torch.ones(50, 768)
    wide, narrow = torch.ones(3072, 768), torch.ones(768, 3072)
    begin = threading.Barrier(division.lanes + 1)
    end = threading.Event()

    def call() -> None:
        inner = torch.nn.functional.gelu(torch.nn.functional.linear(tokens, wide))
        torch.nn.functional.linear(inner, narrow)

    def work() -> int:
        # What the libraries under torch take at first is another number.
        torch.set_num_threads(division.threads)
        try:
            call()
        except BaseException:
            # The others would wait for this lane for ever.
            begin.abort()
            raise
        begin.wait()
        count = 0
        while not end.is_set():
            call()
            count += 1
        return count

    with ThreadPoolExecutor(division.lanes) as pool:
        try:
            lanes = [pool.submit(work) for _ in range(division.lanes)]
            begin.wait()
            started = time.perf_counter()
            time.sleep(_ROUND_SECONDS)
        except BaseException:
            begin.abort()
            raise
        finally:
            end.set()
        return sum(lane.result() for lane in lanes) / (time.perf_counter() - started)
