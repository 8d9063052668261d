"""One scenario of a benchmark of serving, measured: every server in turns, the bare models beside them."""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import click
from benchmark_bound import Bound, Times, bound
from benchmark_figures import OURS, PLAIN, arrivals, ratio
from benchmark_images import Photos
from benchmark_load import Client, Server
from benchmark_process import cpu_seconds, peak_resident_bytes
from benchmark_scenarios import Agreement, Scenario
from serving import running, serving

from app.cli.bench.figures import percentiles, rounded
from app.cli.bench.load import Failed, Seen

# Each server comes so often at every concurrency.
TURNS = 3
OVERLOAD = 4
# Images at once before anything is measured.
WARM_UP = 8
START_SECONDS = 600.0


class Measuring:
    """One scenario, with servers of its own, so that their memory is that of the scenario."""

    def __init__(
        self,
        scenario: Scenario,
        concurrencies: Sequence[int],
        duration: float,
        deadline: float,
        seed: int,
    ) -> None:
        self._scenario = scenario
        self._deadline = deadline
        self._concurrencies = concurrencies
        self._duration = duration
        self._seed = seed
        self._photos = Photos(seed)

    def run(self, environment: dict[str, str], against: str | None, log: IO[bytes]) -> dict[str, Any]:
        with ExitStack() as running_here:
            forwards = (
                running_here.enter_context(
                    bound(self._scenario.name, self._seed, log=log, environment=environment)
                )
                if self._scenario.bound
                else None
            )
            if forwards is not None:
                # Its models are loaded then: a server measures the machine when it starts.
                forwards.measure(0)
            ours = running_here.enter_context(serving_ours(environment, log))
            plain = running_here.enter_context(serving_plain(self._scenario, environment, log))
            servers = [ours, plain, *([Server(against, against)] if against else [])]
            return asyncio.run(self._measured(servers, forwards))

    async def _measured(self, servers: Sequence[Server], forwards: Bound | None) -> dict[str, Any]:
        clients = [Client(server, self._scenario, self._photos) for server in servers]
        for client in clients:
            try:
                await client.warm_up(WARM_UP)
            except Failed as error:
                raise click.ClickException(f"{client.server.name}: {error}") from None
        found: dict[str, Any] = {"about": self._scenario.about}
        found["servers"] = {server.name: {"load": {}} for server in servers}
        bare: Times = {"one_thread": [], "all_threads": []}
        for concurrency in self._concurrencies:
            measured = forwards if concurrency == self._concurrencies[0] else None
            loads = await self._loaded(clients, concurrency, measured, bare)
            for name, load in loads.items():
                found["servers"][name]["load"][str(concurrency)] = load
        if forwards is not None:
            found["bound"] = {kind: percentiles(times) for kind, times in bare.items()}
        for client in clients:
            if client.server.pid is not None:
                peak = peak_resident_bytes(client.server.pid)
                found["servers"][client.server.name]["peak_memory_bytes"] = peak
        if not self._scenario.varied:
            for client in clients:
                alone = await client.alone(self._duration)
                found["servers"][client.server.name]["probe"] = {
                    **percentiles(alone.ms),
                    "failed": alone.failed,
                }
        found["agreement"] = agreement(clients, self._scenario)
        if self._scenario.overload:
            # Last, and the plain one's at the very end: it goes on with what nobody waits for any more.
            for client in sorted(clients, key=lambda client: client.server.name == PLAIN):
                server = found["servers"][client.server.name]
                server["overload"] = await self._overloaded(client, server["load"])
        return found

    async def _loaded(
        self, clients: Sequence[Client], concurrency: int, forwards: Bound | None, bare: Times
    ) -> dict[str, dict[str, Any]]:
        """The figures of every server, and more times of the bare forwards in `bare`."""
        order = list(clients)
        seen = {client.server.name: Seen() for client in clients}
        cpu, own = dict.fromkeys(seen, 0.0), dict.fromkeys(seen, 0.0)
        for _ in range(TURNS):
            for client in order:
                name, pid = client.server.name, client.server.pid
                before, own_before = cpu_seconds(pid), time.process_time()
                await client.turn(concurrency, self._duration / TURNS, seen[name])
                cpu[name] += (cpu_seconds(pid) or 0.0) - (before or 0.0)
                own[name] += time.process_time() - own_before
            # Each comes first in its turn.
            order = order[1:] + order[:1]
            if forwards is not None:
                for kind, times in forwards.measure(self._duration / TURNS).items():
                    bare[kind] += times
        return {
            name: {
                **load_figures(each, self._scenario.images),
                "cpu_seconds": rounded(cpu[name]) or None,
                "client_cpu_seconds": rounded(own[name]),
            }
            for name, each in seen.items()
        }

    async def _overloaded(self, client: Client, loads: dict[str, Any]) -> dict[str, Any]:
        peak = max(load["throughput"] for load in loads.values())
        if not peak:
            return {}
        seen, seconds, deadline = Seen(), self._duration, self._deadline
        times = arrivals(OVERLOAD * peak, seconds + deadline, self._seed)
        good = await client.flood(times, deadline, seen)
        # Before the first deadline has passed the server is not yet as full as it gets.
        goodput = len([at for at in good if deadline <= at < deadline + seconds]) / seconds
        return {
            "offered_per_second": rounded(OVERLOAD * peak),
            "deadline_seconds": rounded(deadline),
            "arrived": len(times),
            "in_time": len(good),
            "refused": seen.refused,
            "failed": seen.failed,
            "problem": seen.problem,
            "goodput_per_second": rounded(goodput),
            "goodput_share": ratio(goodput, peak),
            **percentiles(seen.ms),
            "light": {**percentiles(seen.light_ms), "failed": seen.light_failed},
        }


def load_figures(seen: Seen, images: int) -> dict[str, Any]:
    return {
        **percentiles(seen.ms),
        "failed": seen.failed,
        "refused": seen.refused,
        "problem": seen.problem,
        # Images a second.
        "throughput": rounded(len(seen.ms) * images / seen.seconds),
        "light": {**percentiles(seen.light_ms), "failed": seen.light_failed},
    }


def agreement(clients: Sequence[Client], scenario: Scenario) -> dict[str, Any]:
    """Of ours and the plain server, on the images that both were asked about under load."""
    answers = {client.server.name: client.answers for client in clients}
    found = Agreement()
    for number in sorted(answers[OURS].keys() & answers[PLAIN].keys()):
        found.compare(answers[OURS][number], answers[PLAIN][number], scenario.tasks)
    return {**asdict(found), "holds": found.holds}


@contextmanager
def serving_ours(environment: dict[str, str], log: IO[bytes]) -> Iterator[Server]:
    with serving(log=log, environment=environment, timeout=10, patience=START_SECONDS) as (http, process):
        yield Server(OURS, str(http.base_url), process.pid)


@contextmanager
def serving_plain(scenario: Scenario, environment: dict[str, str], log: IO[bytes]) -> Iterator[Server]:
    script = Path(__file__).with_name("benchmark_plain.py")
    command = (sys.executable, str(script), scenario.name)
    with running(command, log=log, environment=environment, timeout=10, patience=START_SECONDS) as (
        http,
        process,
    ):
        yield Server(PLAIN, str(http.base_url), process.pid)
