"""More requests than the server works on at once."""

import asyncio

import pytest

from app.api.room import RequestLimits
from app.core.errors import Overloaded
from app.main import build_room
from app.settings import Settings


@pytest.fixture
def upload(client, astronaut_png):
    """Send a small request; gives the response."""
    return lambda: client.post(
        "/analyze_image_upload/",
        files={"image_file": ("x.png", astronaut_png)},
        data={"tasks_json": '[{"operation_id": "a", "type": "crop"}]'},
    )


def test_a_request_beyond_the_bound_is_told_to_come_back(room, upload):
    before, room.limits = room.limits, RequestLimits(max_requests=0)
    try:
        response = upload()
    finally:
        room.limits = before
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert "try again" in response.json()["detail"]
    assert upload().status_code == 200


def test_a_place_is_free_again_after_its_request(registry):
    async def scenario():
        room = build_room(Settings(max_requests=1), registry)
        for _ in range(3):
            with room.place():
                with pytest.raises(Overloaded):
                    with room.place():
                        pass
            with pytest.raises(ZeroDivisionError):
                with room.place():
                    raise ZeroDivisionError
        await room.fetcher.close()
        room.pool.close()

    asyncio.run(scenario())


def test_images_that_are_too_large_together_are_told_to_come_back(room, upload):
    before, room.limits = room.limits, RequestLimits(max_pixels_at_once=1000 + 512 * 512)
    try:
        with room.memory_for(1001):
            refused = upload()
        with room.memory_for(1000):
            taken = upload()
        alone = RequestLimits(max_pixels_at_once=1)
        room.limits = alone
        large = upload()
    finally:
        room.limits = before
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert "262,144" in refused.json()["detail"]
    assert taken.status_code == large.status_code == 200
    assert room.pixels == 0
