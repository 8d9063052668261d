"""Many images in one request."""

import asyncio
import itertools
import json
import re
import threading
from collections.abc import Sequence
from contextlib import aclosing, contextmanager
from functools import partial

import httpx
import pytest

from app.api.batch import finished
from app.api.room import RequestLimits
from app.core.artifacts import Crop
from app.core.errors import Overloaded
from app.core.geometry import Box
from app.core.operation import IMAGE, NoParams, operation
from app.core.registry import Registry
from app.main import build_room, build_store
from app.settings import Settings
from tests.api.test_disconnect import until
from tests.conftest import served
from tests.images import encoded, noise
from tests.site import site
from tests.tiny import TinyStore

JSON = {"Accept": "application/json"}
MEASURE = [{"operation_id": "m", "type": "measure"}]


def picture(seed: int, width: int = 16, height: int = 12) -> bytes:
    return encoded(noise(width, height, seed=seed))


@operation(needs=lambda params: {"crop": IMAGE})
def measure(crop: Sequence[Crop], params: NoParams) -> list[Box]:
    """Measure."""
    return [each.box for each in crop]


@operation(needs=lambda params: {"crop": IMAGE})
def count(crop: Sequence[Crop], params: NoParams) -> list[int]:
    """Count."""
    return [each.box.area for each in crop]


class Holding:
    """An operation that holds its lane until the gate opens, and counts who was let in."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = 0

    def operation(self):
        @operation(needs=lambda params: {"crop": IMAGE})
        def hold(crop: Sequence[Crop], params: NoParams) -> list[Box]:
            """Hold the lane until the test lets go."""
            self.entered += 1
            self.gate.wait(30)
            return [each.box for each in crop]

        return hold


@contextmanager
def serving(holding=None, **settings):
    """A server with the toys; gives its room and its URL."""
    holding = holding or Holding()
    registry = Registry([measure, count, holding.operation()])
    room = build_room(Settings(allow_private_urls=True, **{"lanes": 2, **settings}), registry)
    with served(room) as url:
        try:
            yield room, url
        finally:
            holding.gate.set()
    room.pool.close()


def files(*pictures: bytes, tasks=MEASURE, **fields):
    return {
        "files": [("image_file", (f"{number}.png", data)) for number, data in enumerate(pictures)],
        "data": {"tasks_json": json.dumps(tasks), **fields},
    }


def lines(answer) -> tuple[dict[int, dict], dict]:
    """The images of an answer by their places, and its end."""
    assert answer.status_code == 200, answer.text
    *images, end = map(json.loads, answer.text.splitlines())
    assert "index" not in end
    return {image["index"]: image for image in images}, end


def test_every_image_is_a_line_and_a_bad_one_fails_alone():
    good = {"a.png": picture(1), "b.png": picture(2, 8, 8), "broken.png": picture(3)[:60]}
    large = {"large.png": bytes(5000)}
    with site({**good, **large}) as where, serving(max_image_bytes=4000) as (room, url):
        names = ["a.png", "missing.png", "broken.png", "large.png", "b.png"]
        body = {"images": [f"{where}/{name}" for name in names], "tasks": MEASURE}
        answer = httpx.post(f"{url}/analyze_batch/", json=body, timeout=30)
        alone = {"image_url": f"{where}/b.png", "tasks": MEASURE}
        single = httpx.post(f"{url}/analyze_image/", json=alone, timeout=30).json()
        assert until(lambda: room.working == room.pixels == 0)
    assert answer.headers["content-type"] == "application/x-ndjson"
    images, end = lines(answer)
    assert [images[place]["id"] for place in range(5)] == ["0", "1", "2", "3", "4"]
    assert images[0]["results"]["m"]["data"] == [0, 0, 16, 12]
    assert images[4]["results"]["m"]["data"] == [0, 0, 8, 8]
    # One image's answer is what the endpoint for one image answers.
    assert images[4].keys() == {"id", "index", *single}
    assert images[4]["image"] == single["image"]
    for place, message in [(1, "404"), (2, "Could not process"), (3, "over 4,000 bytes")]:
        assert images[place].keys() == {"id", "index", "detail", "status"}
        assert images[place]["status"] == 400
        assert message in images[place]["detail"]
    assert (end["done"], end["failed"]) == (2, 3)
    assert end["request_id"] == answer.headers["x-request-id"]


def test_a_document_has_the_images_in_the_order_of_the_request(room, client):
    pictures = [picture(1), b"none", picture(2, 600, 400), picture(3)]
    tasks = [{"operation_id": "t", "type": "crop"}]
    body = client.post("/analyze_batch/", **files(*pictures, tasks=tasks), headers=JSON).json()
    assert [image["index"] for image in body["images"]] == [0, 1, 2, 3]
    assert [image.get("status", 200) for image in body["images"]] == [200, 400, 200, 200]
    assert body["images"][2]["image_url"] == "uploaded:2.png"
    assert body["images"][2]["results"]["t"]["status"] == "success"
    assert (body["done"], body["failed"]) == (3, 1)
    assert room.working == room.pixels == 0


def test_a_file_over_the_limit_fails_alone():
    with serving(max_image_bytes=2000) as (_, url):
        answer = httpx.post(f"{url}/analyze_batch/", **files(picture(1), bytes(2001)), timeout=30)
    images, _ = lines(answer)
    assert images[0]["results"]["m"]["status"] == "success"
    assert images[1]["status"] == 413


def test_an_image_has_its_own_id_and_tasks():
    own = [{"operation_id": "c", "type": "count"}]
    with site({"a.png": picture(1)}) as where, serving() as (_, url):
        image = f"{where}/a.png"
        body = {"images": [image, {"id": "mine", "image_url": image, "tasks": own}], "tasks": MEASURE}
        images, _ = lines(httpx.post(f"{url}/analyze_batch/", json=body, timeout=30))
        body = {"images": [{"image_url": image, "tasks": own}]}
        unshared, _ = lines(httpx.post(f"{url}/analyze_batch/", json=body, timeout=30))
    assert (images[0]["id"], images[1]["id"]) == ("0", "mine")
    assert images[0]["results"].keys() == {"m"}
    assert images[1]["results"]["c"]["data"] == 192
    assert unshared[0]["results"].keys() == {"c"}


def test_files_have_ids(client):
    images, _ = lines(client.post("/analyze_batch/", **files(picture(1), picture(2), id=["b", "a"])))
    assert [images[0]["id"], images[1]["id"]] == ["b", "a"]


URL = "http://a.example/"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"images": [], "tasks": MEASURE}, "images: "),
        ({"images": [URL] * 257, "tasks": MEASURE}, "images: "),
        ({"tasks": MEASURE}, "images: is required"),
        ({"images": [URL]}, "images[0].tasks: is required"),
        ({"images": [URL], "tasks": []}, "tasks: "),
        ({"images": [URL, {"image_url": URL, "tasks": []}], "tasks": MEASURE}, "images[1].tasks: "),
        ({"images": [""], "tasks": MEASURE}, "images[0]: "),
        ({"images": [7], "tasks": MEASURE}, "images[0]: must be a URL or an object with image_url, got 7"),
        ({"images": [{"url": URL}], "tasks": MEASURE}, "images[0].image_url: is required"),
        ({"images": [{"image_url": URL, "task": 1}], "tasks": MEASURE}, "did you mean 'tasks'?"),
        ({"images": [URL, {"image_url": URL, "id": "0"}], "tasks": MEASURE}, "images[1].id: '0' is the id"),
        ({"images": [{"image_url": URL, "id": "1"}, URL], "tasks": MEASURE}, "images[0].id: '1' is the id"),
        ({"images": [URL], "tasks": MEASURE * 2}, "tasks: duplicate operation_id 'm'"),
        (
            {"images": [{"image_url": URL, "tasks": MEASURE * 2}]},
            "images[0].tasks: duplicate operation_id 'm'",
        ),
        ([URL], "body: "),
    ],
)
def test_a_batch_of_another_form_is_refused_by_its_field(client, body, message):
    answer = client.post("/analyze_batch/", json=body)
    assert answer.status_code == 400
    assert message in answer.json()["detail"]


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"data": {"tasks_json": "[]"}, "files": {"other": b""}}, "other: is not a known field"),
        (files(*[b"x"] * 257), "image_file: was sent 257 times; at most 256"),
        (files(b"x", tasks=MEASURE * 2), "tasks_json: duplicate operation_id 'm'"),
        (files(b"x", tasks={}), "tasks_json: "),
        (files(b"x", b"y", id=["a"]), "id: was sent 1 times for 2 files"),
        (files(b"x", b"y", id=["a", "a"]), "id[1]: 'a' is the id of the images at 0 and 1"),
        (files(b"x", id=["a" * 513]), "id[0]: "),
        ({"files": {"image_file": ("a.png", b"x")}}, "tasks_json: is required"),
        ({"files": {"tasks_json": (None, "[]")}}, "image_file: is required"),
        ({"files": {"tasks_json": (None, "[]"), "image_file": (None, "x")}}, "image_file: must be a file"),
    ],
)
def test_a_form_of_another_form_is_refused_by_its_field(client, form, message):
    answer = client.post("/analyze_batch/", **form)
    assert answer.status_code == 400
    assert message in answer.json()["detail"]


def test_the_items_of_a_batch_share_the_calls_of_an_engine(registry, tmp_path):
    settings = Settings(lanes=1, offline=True, data=tmp_path / "data")
    room = build_room(settings, registry, TinyStore(build_store(settings), tmp_path / "checkpoints"))
    tasks = [{"operation_id": "v", "type": "embed_clip_vit_b_32"}]
    with served(room) as url:
        # The model loads at the first item, which the others come to meanwhile.
        sent = files(*(picture(seed) for seed in range(16)), tasks=tasks)
        images, end = lines(httpx.post(f"{url}/analyze_batch/", **sent, timeout=60))
        scraped = httpx.get(f"{url}/metrics").text
    room.pool.close()
    room.index.close()
    room.classifiers.close()
    assert end["done"] == 16
    assert all(image["results"]["v"]["status"] == "success" for image in images.values())
    (items,) = re.findall(r'sightgraph_batch_items_sum\{.*operation="encode_clip".*\} (\S+)', scraped)
    (calls,) = re.findall(r'sightgraph_batch_items_count\{.*operation="encode_clip".*\} (\S+)', scraped)
    assert float(items) == 16
    assert 0 < float(calls) < 16


def test_a_batch_waits_for_memory_that_a_single_request_is_refused():
    holding = Holding()
    with serving(holding) as (room, url):
        room.limits = RequestLimits(max_pixels_at_once=1000)
        tasks = [{"operation_id": "h", "type": "hold"}]
        answers = []
        batch = files(*(picture(seed, 20, 20) for seed in range(4)), tasks=tasks)
        post = partial(httpx.post, f"{url}/analyze_batch/", **batch, timeout=30)
        asking = threading.Thread(target=lambda: answers.append(post()))
        asking.start()
        # Half of the memory is for batches: one image of 400 pixels at a time.
        assert until(lambda: holding.entered == 1)
        assert room.pixels == 400
        single = files(picture(9, 30, 20))
        single["files"] = single["files"][:1]
        taken = httpx.post(f"{url}/analyze_image_upload/", **single, timeout=30)
        assert taken.status_code == 200
        single["files"] = [("image_file", ("9.png", picture(9, 31, 20)))]
        refused = httpx.post(f"{url}/analyze_image_upload/", **single, timeout=30)
        assert refused.status_code == 503
        assert holding.entered == 1
        holding.gate.set()
        asking.join(30)
        images, end = lines(answers[0])
        assert room.pixels == 0
    assert (end["done"], end["failed"]) == (4, 0)
    assert [images[place]["image"]["width"] for place in range(4)] == [20] * 4


def test_batches_leave_places_to_single_requests():
    holding = Holding()
    hold = [{"operation_id": "h", "type": "hold"}]
    with serving(holding, max_requests=3, lanes=4) as (room, url):
        with httpx.stream("POST", f"{url}/analyze_batch/", **files(picture(1), b"none", tasks=hold)) as first:
            reading = first.iter_lines()
            assert json.loads(next(reading))["status"] == 400
            assert room.working == 1
            second = httpx.post(f"{url}/analyze_batch/", **files(picture(2)), timeout=30)
            assert second.status_code == 503
            assert second.headers["retry-after"] == "1"
            assert "batches" in second.json()["detail"]
            single = httpx.post(f"{url}/analyze_image_upload/", **files(picture(2)), timeout=30)
            assert single.status_code == 200
            holding.gate.set()
        assert until(lambda: room.working == 0)
        assert httpx.post(f"{url}/analyze_batch/", **files(picture(2)), timeout=30).status_code == 200


def test_a_small_batch_is_not_kept_waiting_by_a_large_one():
    holding = Holding()
    hold = [{"operation_id": "h", "type": "hold"}]
    with serving(holding, lanes=1) as (room, url):
        many = files(*(picture(seed) for seed in range(3 * room.turns.at_once)), tasks=hold)
        with httpx.stream("POST", f"{url}/analyze_batch/", **many, timeout=30) as large:
            assert until(lambda: holding.entered == 1)
            answers = []
            small = partial(httpx.post, f"{url}/analyze_batch/", **files(picture(99)), timeout=30)
            asking = threading.Thread(target=lambda: answers.append(small()))
            asking.start()
            assert until(lambda: room.working == 2)
            holding.gate.set()
            seen = sum(1 for _ in itertools.takewhile(lambda _: not answers, large.iter_lines()))
            asking.join(30)
    # It came while the first images of the large one were worked on, and not after its last.
    assert seen < 3 * room.turns.at_once
    assert lines(answers[0])[1]["done"] == 1


def test_a_client_that_leaves_takes_the_rest_of_its_batch_along():
    holding = Holding()
    hold = [{"operation_id": "h", "type": "hold"}]
    with serving(holding, lanes=1) as (room, url):
        sent = files(b"none", *(picture(seed) for seed in range(40)), tasks=hold)
        with httpx.stream("POST", f"{url}/analyze_batch/", **sent, timeout=30) as answer:
            reading = answer.iter_lines()
            assert json.loads(next(reading))["status"] == 400
            assert until(lambda: holding.entered == 1)
        assert until(lambda: room.working == room.pixels == 0)
        holding.gate.set()
        # Its other images were not begun: the next request finds the lane free.
        assert httpx.post(f"{url}/analyze_image_upload/", **files(picture(77)), timeout=30).is_success
        assert holding.entered == 1


def test_a_batch_of_a_server_that_stops_is_told_so():
    holding = Holding()
    hold = [{"operation_id": "h", "type": "hold"}]
    with serving(holding, lanes=1) as (room, url):
        many = room.turns.at_once + 3
        sent = files(*(picture(seed) for seed in range(many)), tasks=hold)
        with httpx.stream("POST", f"{url}/analyze_batch/", **sent, timeout=30) as answer:
            assert until(lambda: holding.entered == 1)
            room.refusing = True
            holding.gate.set()
            answer.read()
        images, end = lines(answer)
    assert (end["done"], end["failed"]) == (room.turns.at_once, 3)
    refused = [image for image in images.values() if "detail" in image]
    assert all(image["status"] == 503 and "stopping" in image["detail"] for image in refused)


def test_a_batch_has_the_time_of_its_images_together():
    """One image is held for as long as it may be; the turn of the others comes in time or is answered."""
    holding = Holding()
    hold = [{"operation_id": "h", "type": "hold"}]
    with serving(holding, lanes=1) as (room, url):
        room.turns.at_once = 1
        sent = files(*(picture(seed) for seed in range(3)), tasks=hold)
        answer = httpx.post(f"{url}/analyze_batch/", **sent, headers={"X-Request-Timeout": "0.3"}, timeout=30)
        images, end = lines(answer)
    assert len(images) == end["done"] + end["failed"] == 3
    for image in images.values():
        if "detail" in image:
            assert (image["status"], "turn" in image["detail"]) == (503, True)
        else:
            assert image["results"]["h"]["error_code"] == "deadline_exceeded"


# The order and number of works


class Works:
    """Works that end when they are told, and count how many were begun."""

    def __init__(self, number: int) -> None:
        self.begun = 0
        self.ends = [asyncio.Event() for _ in range(number)]
        self.cancelled: list[int] = []

    def __iter__(self):
        return (partial(self._work, number) for number in range(len(self.ends)))

    async def _work(self, number: int) -> int:
        self.begun += 1
        try:
            await self.ends[number].wait()
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        return number


async def a_while() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_works_come_as_they_finish():
    async def scenario() -> list[int]:
        works = Works(4)
        taken = []
        async with aclosing(finished(works, 3, in_order=False)) as results:
            for number in (2, 0, 3, 1):
                asyncio.get_running_loop().call_soon(works.ends[number].set)
                taken.append(await anext(results))
        return taken

    assert asyncio.run(scenario()) == [2, 0, 3, 1]


def test_works_come_in_their_order():
    async def scenario() -> list[int]:
        works = Works(4)
        for number in (3, 2, 1):
            works.ends[number].set()
        asyncio.get_running_loop().call_later(0.01, works.ends[0].set)
        return [number async for number in finished(works, 3, in_order=True)]

    assert asyncio.run(scenario()) == [0, 1, 2, 3]


@pytest.mark.parametrize("in_order", [False, True])
def test_no_more_works_are_begun_than_are_taken(in_order):
    async def scenario() -> None:
        works = Works(10)
        for end in works.ends:
            end.set()
        async with aclosing(finished(works, 3, in_order=in_order)) as results:
            for taken in range(1, 4):
                await anext(results)
                await a_while()
                assert works.begun <= taken + 2

    asyncio.run(scenario())


def test_works_that_nobody_waits_for_are_cancelled():
    async def scenario() -> list[int]:
        works = Works(5)
        works.ends[1].set()
        async with aclosing(finished(works, 3, in_order=False)) as results:
            assert await anext(results) == 1
        return works.cancelled

    assert asyncio.run(scenario()) == [0, 2]


# Turns


@pytest.fixture
def small_room():
    room = build_room(Settings(max_requests=4, max_pixels_at_once=100), Registry([measure]))
    yield room
    room.pool.close()


def test_memory_goes_to_those_who_came_first(small_room):
    turns, order = small_room.turns, []

    async def take(name: str, pixels: int, give_back: asyncio.Event) -> None:
        async with turns.memory_for(pixels):
            order.append(name)
            await give_back.wait()

    async def scenario() -> None:
        first, rest = asyncio.Event(), asyncio.Event()
        tasks = [asyncio.create_task(take("first", 30, first))]
        await a_while()
        # The large one waits, and the small ones behind it, which would find room, let it go before.
        tasks.append(asyncio.create_task(take("large", 50, rest)))
        tasks += [asyncio.create_task(take(name, 10, rest)) for name in ("a", "b")]
        await a_while()
        assert order == ["first"]
        first.set()
        await a_while()
        assert order == ["first", "large"]
        rest.set()
        await asyncio.gather(*tasks)
        assert order == ["first", "large", "a", "b"]
        assert small_room.pixels == 0

    asyncio.run(scenario())


def test_memory_that_single_requests_give_back_is_taken(small_room):
    turns = small_room.turns

    async def scenario() -> None:
        entered = asyncio.Event()

        async def take() -> None:
            async with turns.memory_for(50):
                entered.set()

        with small_room.memory_for(60):
            taking = asyncio.create_task(take())
            await a_while()
            assert not entered.is_set()
        await asyncio.wait_for(taking, 10)
        assert small_room.pixels == 0

    asyncio.run(scenario())


def test_who_stops_waiting_leaves_nothing_taken(small_room):
    turns = small_room.turns

    async def take(pixels: int, entered: list[int]) -> None:
        async with turns.memory_for(pixels):
            entered.append(pixels)

    async def scenario() -> None:
        entered: list[int] = []
        held = turns.memory_for(50)
        await held.__aenter__()
        waiting = [asyncio.create_task(take(pixels, entered)) for pixels in (50, 20, 10)]
        await a_while()
        # Cancelled while it waits, and in the very turn in which it would go on.
        waiting[0].cancel()
        await a_while()
        await held.__aexit__(None, None, None)
        waiting[1].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert entered == [10]
        assert small_room.pixels == 0
        # What is given back after a cancellation that was not seen yet goes to the next one.
        async with turns.memory_for(50):
            last = [asyncio.create_task(take(pixels, entered)) for pixels in (40, 30)]
            await a_while()
            last[0].cancel()
        await asyncio.gather(*last, return_exceptions=True)
        assert entered == [10, 30]
        assert small_room.pixels == 0

    asyncio.run(scenario())


def test_half_of_the_places_is_for_batches(small_room):
    with small_room.turns.place(), small_room.turns.place():
        with pytest.raises(Overloaded), small_room.turns.place():
            pass
        with small_room.place(), small_room.place():
            with pytest.raises(Overloaded), small_room.place():
                pass
    assert small_room.working == 0
