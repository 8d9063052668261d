"""The load of a benchmark: one asyncio process with httpx, which shares the cores with what it measures.

Its own work, encoding images and forms above all, counts in the times that it sees. So what is asked at given
times is prepared before, and what is measured in milliseconds is asked by a probe.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
import orjson
from benchmark_images import Photos
from benchmark_scenarios import Scenario

from app.cli.bench.load import Failed, Prepared, Probed, Seen, clock, keep_asking, light_probed, probing

UPLOAD = "/analyze_image_upload/"
BATCH = "/analyze_batch/"
LIGHT = ("/health/live", "/available_operations/")
# Under a load that can be answered nothing is given up before.
PATIENCE_SECONDS = 1200.0
# So many images' answers are kept to be compared.
KEPT_ANSWERS = 200


class Refused(Failed):
    """A request was told to come back."""


@dataclass(frozen=True, slots=True)
class Server:
    """One that is measured. `pid` is known of those that run here."""

    name: str
    url: str
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """A request for images by their numbers."""

    numbers: tuple[int, ...]
    request: Prepared


class Client:
    """Asks a server for a scenario, each time with images that it was not asked about before.

    Attributes:
        answers: by an image's number the data of its tasks.
    """

    def __init__(self, server: Server, scenario: Scenario, photos: Photos) -> None:
        self.server = server
        self.answers: dict[int, dict[str, Any]] = {}
        self._scenario = scenario
        self._photos = photos
        self._form = {"tasks_json": json.dumps(scenario.tasks)}
        self._next = 0
        self._takes_batches = False
        self._light: list[Prepared] = []

    async def warm_up(self, at_once: int) -> None:
        """Find out which endpoints the server has, let it load its models, and then make room for several
        images.

        Raises:
            Failed: one was not answered wholly.
        """
        async with connected(self.server.url) as http:
            self._light = [Prepared(path) for path in LIGHT if (await http.get(path)).is_success]
            if self._scenario.images > 1:
                probe = await http.post(BATCH, json={})
                self._takes_batches = probe.status_code not in (404, 405)
            for several in (1, max(1, at_once // self._scenario.images)):
                await asyncio.gather(*(self._send(http, self._ask(), Seen()) for _ in range(several)))

    async def turn(self, concurrency: int, seconds: float, seen: Seen) -> None:
        """Ask all the time, so many requests at once."""
        async with connected(self.server.url) as http, light_probed(self.server.url, self._light, seen):
            await keep_asking(lambda: self._send(http, self._ask(), seen), concurrency, seconds, seen)

    async def alone(self, seconds: float) -> Probed:
        """One request after the other, which a probe asks."""
        (form,) = self._ask()
        async with probing(self.server.url, [form.request], None) as probed:
            await asyncio.sleep(seconds)
        return probed

    async def flood(self, times: Sequence[float], deadline: float, seen: Seen) -> list[float]:
        """Ask at given times, whatever is unanswered, each request with a deadline.

        Returns:
            when the answers came that were in time, in seconds from the start.
        """
        good: list[float] = []
        asked = [(due, self._ask()) for due in times]

        async def ask(due: float, forms: Sequence[Form]) -> None:
            try:
                # The server may need a moment to say that the time is up.
                async with asyncio.timeout(started + due + deadline + 1 - clock()):
                    await self._send(http, forms, seen, asks_again=False)
            except Refused:
                return
            except (Failed, TimeoutError) as error:
                seen.fail(str(error) or "no answer in time")
                return
            took = clock() - started - due
            seen.ms.append(took * 1000)
            if took <= deadline:
                good.append(due + took)

        headers = {"X-Request-Timeout": f"{deadline:g}"}
        light = light_probed(self.server.url, self._light, seen)
        async with connected(self.server.url, headers) as http, light:
            started = clock()
            async with asyncio.TaskGroup() as group:
                for due, forms in asked:
                    await asyncio.sleep(max(0.0, started + due - clock()))
                    group.create_task(ask(due, forms))
            seen.seconds += clock() - started
        return good

    def _ask(self) -> list["Form"]:
        """The requests for the next images: one for all of them where the server takes batches."""
        first = self._next
        self._next += self._scenario.images
        files = {number: self._file(number) for number in range(first, self._next)}
        if self._takes_batches:
            return [self._form_of(BATCH, files)]
        return [self._form_of(UPLOAD, {number: data}) for number, data in files.items()]

    def _form_of(self, path: str, files: Mapping[int, bytes]) -> "Form":
        parts = [("image_file", (f"{number}.jpg", data)) for number, data in files.items()]
        request = httpx.Request("POST", self.server.url, files=parts, data=self._form)
        body = request.read()
        headers = {"Accept": "application/json", "Content-Type": request.headers["content-type"]}
        return Form(tuple(files), Prepared(path, headers, "POST", body))

    async def _send(
        self, http: httpx.AsyncClient, forms: Sequence["Form"], seen: Seen, *, asks_again: bool = True
    ) -> None:
        """Several requests at once, each as often as it takes.

        Raises:
            Failed: one was not answered wholly.
        """

        async def send(form: Form) -> None:
            answer = await self._post(http, form.request, seen, asks_again)
            answers = answer["images"] if form.request.path == BATCH else [answer]
            for number, each in zip(form.numbers, answers, strict=True):
                self._keep(number, each)

        await asyncio.gather(*map(send, forms))

    async def _post(self, http: httpx.AsyncClient, request: Prepared, seen: Seen, asks_again: bool) -> Any:
        while True:
            try:
                response = await http.post(request.path, content=request.body, headers=request.headers)
            except httpx.HTTPError as error:
                raise Failed(f"{type(error).__name__}: {error}") from None
            if response.is_success:
                return orjson.loads(response.content)
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                raise Failed(f"{response.status_code}: {response.text[:200]}")
            seen.refused += 1
            if not asks_again:
                raise Refused
            await asyncio.sleep(float(response.headers.get("retry-after", 1)))

    def _keep(self, number: int, answer: dict[str, Any]) -> None:
        if "results" not in answer:
            raise Failed(f"{answer}"[:200])
        for result in answer["results"].values():
            if result["status"] != "success":
                raise Failed(f"{result['status']}: {result['error_message']}"[:200])
        if len(self.answers) < KEPT_ANSWERS:
            self.answers[number] = {name: result["data"] for name, result in answer["results"].items()}

    def _file(self, number: int) -> bytes:
        return self._photos.jpeg(number) if self._scenario.varied else self._photos.of_100_kb


@cache
def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context()


def connected(url: str, headers: Mapping[str, str] | None = None) -> httpx.AsyncClient:
    """A client with as many connections as it needs."""
    return httpx.AsyncClient(
        base_url=url,
        headers=headers,
        timeout=PATIENCE_SECONDS,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        # Reading the certificates anew takes as long as some models.
        verify=_certificates(),
        trust_env=False,
    )
