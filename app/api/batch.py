"""The endpoint that analyses many images.

Every image is fetched, decoded and analysed by itself, so that a bad one fails alone; their items meet in the
batches of the engines. A few are worked on at a time, and no more are begun than their answers are read.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing
from itertools import islice
from typing import Any, TypeVar

from litestar import MediaType, Request, Response, post
from litestar.di import NamedDependency

from app.api.accept import preferred
from app.api.analysis import begun
from app.api.answers import json_bytes
from app.api.batch_bodies import Arrived, arriving_images
from app.api.batch_schemas import BatchResponse
from app.api.bodies import in_time
from app.api.errors import INTERNAL_DETAIL, STATUS
from app.api.index_bodies import ITEMS_FORM_MAX_BYTES
from app.api.openapi import documented
from app.api.rate_limits import count_images
from app.api.request_id import request_id
from app.api.room import Room
from app.api.streaming import NDJSON, TAKEN, Document, Framing, Lines, Part, Parts, Streamed
from app.core.errors import RequestError

log = logging.getLogger(__name__)

T = TypeVar("T")

_NO_TURN = "The time of the batch was up before this image's turn came; send it again."
_STOPPING = "The server is stopping, and this image's turn had not come; send it again."


@post(
    "/analyze_batch/",
    status_code=200,
    request_max_body_size=ITEMS_FORM_MAX_BYTES,
    summary="Analyse many images",
    tags=["analyse"],
    opt={"scope": "analyze"},
    responses=documented(BatchResponse, 400, 413, 503),
)
async def analyze_batch(
    request: Request[Any, Any, Any], room: NamedDependency[Room], seconds: NamedDependency[float]
) -> Response[bytes]:
    async with AsyncExitStack() as files:
        # A client may take its time to send: it holds no place meanwhile.
        arriving = files.enter_async_context(arriving_images(request, room))
        images = await in_time(arriving, room.limits.seconds)
        count_images(len(images))
        ordered = preferred(request, [NDJSON, MediaType.JSON]) == MediaType.JSON
        framing: Framing = Document("image", "images") if ordered else Lines()
        parts = _parts(room, images, seconds, files.pop_all(), in_order=ordered)
        return Streamed(request, parts, framing, ahead=1, stall_seconds=room.limits.seconds)


async def _parts(
    room: Room, images: Sequence[Arrived], seconds: float, files: AsyncExitStack, *, in_order: bool
) -> Parts:
    """The answer to every image, and last the totals."""
    async with files:
        with room.turns.place():
            clock = asyncio.get_running_loop().time
            started = clock()
            # As if they were analysed one after another.
            until = started + seconds * len(images)
            failed = 0

            async def answer(index: int, image: Arrived) -> tuple[bool, Part]:
                done, body = await _answered(room, image, seconds, until)
                return done, Part("image", json_bytes({"id": image.id, "index": index, **body}))

            yield TAKEN
            works = (lambda each=each: answer(*each) for each in enumerate(images))
            async with aclosing(finished(works, room.turns.at_once, in_order=in_order)) as answers:
                async for done, part in answers:
                    failed += not done
                    yield part
            total = {"total": round((clock() - started) * 1000, 3)}
            end = {"done": len(images) - failed, "failed": failed}
            yield Part("done", json_bytes({**end, "request_id": request_id(), "timings_ms": total}))


async def _answered(room: Room, image: Arrived, seconds: float, until: float) -> tuple[bool, dict[str, Any]]:
    """Whether an image was analysed, and its answer.

    Its time runs from its turn on, for which it waits no longer than the time of all.
    """
    clock = asyncio.get_running_loop().time
    try:
        async with AsyncExitStack() as turn:
            try:
                async with asyncio.timeout(max(0.0, until - clock())):
                    await turn.enter_async_context(room.turns.turn())
            except TimeoutError:
                return False, {"detail": _NO_TURN, "status": 503}
            if room.refusing:
                return False, {"detail": _STOPPING, "status": 503}
            left = min(seconds, until - clock())
            async with begun(room, image.sent, image.tasks, left, room.turns.memory_for) as analysis:
                return True, await analysis.answered()
    except RequestError as error:
        return False, {"detail": str(error), "status": STATUS[type(error)]}
    except Exception as error:
        log.error("an image of a batch failed", exc_info=error)
        return False, {"detail": INTERNAL_DETAIL, "status": 500}


async def finished(
    works: Iterable[Callable[[], Coroutine[Any, Any, T]]], at_once: int, *, in_order: bool
) -> AsyncGenerator[T, None]:
    """The results of works as they finish, or in their order.

    No work is begun while `at_once` others run or have results that were not taken.
    """
    left = iter(works)
    begun: deque[asyncio.Task[T]] = deque()
    try:
        while True:
            begun.extend(asyncio.create_task(work()) for work in islice(left, at_once - len(begun)))
            if not begun:
                return
            awaited = [begun[0]] if in_order else begun
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            ended = next(task for task in awaited if task.done())
            begun.remove(ended)
            yield ended.result()
    finally:
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
