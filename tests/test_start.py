"""What the settings make of the server: which engines are preferred, fetched and loaded."""

import asyncio
import logging
import threading
from typing import Any

import pytest
from pydantic import ValidationError

from app.core.errors import RegistryError
from app.core.operation import EngineSpec
from app.core.weights import Progress
from app.main import build_room, build_store, create_app, load_engines, preferences, wanted_engines
from app.runtime.engines import EngineState
from app.settings import OPERATIONS_OF_IMAGE_EMBED, Settings
from tests.tiny import TinyStore

NOTHING: frozenset[str] = frozenset()


@pytest.fixture
def room(registry, tmp_path):
    """Nothing is loaded yet, and nothing is downloaded."""
    settings = Settings(lanes=1, offline=True)
    room = build_room(settings, registry, TinyStore(build_store(settings), tmp_path, NOTHING))
    yield room
    room.pool.close()


def names(specs: list[EngineSpec]) -> list[str]:
    return [spec.name for spec in specs]


# Preferences


@pytest.mark.parametrize(
    ("told", "parsed"),
    [
        ("embed_dino_v2=dinov2-small", {"embed_dino_v2": ("dinov2-small",)}),
        (" describe_image = blip-large , blip-base ;", {"describe_image": ("blip-large", "blip-base")}),
        ("a=b;c=d", {"a": ("b",), "c": ("d",)}),
        ("", {}),
    ],
)
def test_preferences_are_read_from_the_environment(monkeypatch, told, parsed):
    monkeypatch.setenv("SIGHTGRAPH_ENGINES", told)
    assert Settings().engines == parsed


@pytest.mark.parametrize("told", ["embed_dino_v2", "embed_dino_v2=", "=a;b"])
def test_preferences_of_another_form_are_refused(monkeypatch, told):
    monkeypatch.setenv("SIGHTGRAPH_ENGINES", told)
    if told.startswith("="):
        told = "b"
    with pytest.raises(ValidationError, match="operation=engine,engine"):
        Settings()


def test_a_preference_of_an_operation_is_one_of_the_stage_that_makes_its_data(registry):
    settings = Settings(engines={"detect_bounding_box": ("opencv-hog-people",), "embed_clip": ("ViT-B-16",)})
    assert preferences(settings, registry) == {
        "find_objects": ("opencv-hog-people",),
        "encode_clip": ("ViT-B-16",),
    }
    assert preferences(Settings(engines={"detect_bounding_box": ("mtcnn",)}), registry) == {
        "detect_faces": ("mtcnn",)
    }


@pytest.mark.parametrize(
    ("engines", "told"),
    [
        ({"embed_dino_v9": ("dinov2-small",)}, "'embed_dino_v9' is none of"),
        ({"crop": ("mtcnn",)}, "'crop' is none of"),
        ({"embed_dino_v2": ("dinov9",)}, "embed_dino_v2 has no engine 'dinov9', but dinov2-base"),
        (
            {"embed_clip": ("ViT-B-16",), "embed_clip_vit_b_32": ("ViT-B-32",)},
            "in common with another operation that is named, by the stage encode_clip",
        ),
    ],
)
def test_a_preference_for_what_is_not_there_stops_the_start(registry, engines, told):
    with pytest.raises(RegistryError, match=told):
        preferences(Settings(engines=engines), registry)


# What is fetched


def test_the_operations_of_image_embed_are_fetched_with_the_first_engine_of_each(room):
    assert set(names(wanted_engines(OPERATIONS_OF_IMAGE_EMBED, room))) == {
        "d-fine-nano",
        "mtcnn",
        "ViT-B-32",
        "dinov2-base",
        "dinov3-vitl16",
        "auraface-v1",
        "blip-base",
    }


def test_all_names_every_operation(room, registry):
    assert set(names(wanted_engines(["all"], room))) >= {"blip-vqa", "ViT-B-32", "facenet-vggface2"}


def test_an_unknown_operation_is_told(room):
    with pytest.raises(RegistryError, match="'embed_everything' is no operation of this server"):
        wanted_engines(["embed_everything"], room)


@pytest.mark.parametrize(
    ("told", "parsed"), [("none", ()), ("describe_image, crop", ("describe_image", "crop"))]
)
def test_what_to_fetch_is_read_from_the_environment(monkeypatch, told, parsed):
    monkeypatch.setenv("SIGHTGRAPH_PULL", told)
    assert Settings().pull == parsed


@pytest.mark.parametrize("offline", [True, False])
def test_the_server_fetches_in_the_background_unless_it_is_offline(monkeypatch, tmp_path, offline):
    fetched: list[str] = []
    done = threading.Event()

    def pull(self: TinyStore, spec: EngineSpec, progress: Progress) -> None:
        fetched.append(spec.name)
        if len(fetched) == 2:
            done.set()

    monkeypatch.setattr(TinyStore, "pull", pull)
    monkeypatch.setattr(
        "app.main.build_store", lambda settings: TinyStore(build_store(settings), tmp_path, NOTHING)
    )
    app = create_app(Settings(lanes=1, offline=offline, pull=("embed_dino_v2",)))

    async def start_and_stop() -> None:
        async with app.lifespan():
            if not offline:
                assert await asyncio.to_thread(done.wait, 10)

    asyncio.run(start_and_stop())
    assert fetched == ([] if offline else ["dinov2-base", "d-fine-nano"])


# What is loaded


def test_what_ships_in_packages_is_loaded_at_the_start_and_what_is_absent_is_left(room, caplog):
    caplog.set_level(logging.INFO, logger="app.main")
    room.starting = True
    asyncio.run(load_engines(room, wanted_engines(["all"], room)))
    assert not room.starting
    states = {name: room.pool.state(spec) for name, spec in room.registry.engines.items()}
    assert {name for name, state in states.items() if state is EngineState.READY} == {
        "imagehash",
        "mtcnn",
        "opencv-hog-people",
        "rapidocr",
        "zxing-cpp",
    }
    assert set(states.values()) == {EngineState.READY, EngineState.ABSENT}
    assert any(message.startswith("ready: classify, compare, crop") for message in caplog.messages)


def test_what_is_to_be_preloaded_is_loaded_when_it_is_here(registry, tmp_path):
    settings = Settings(lanes=1, offline=True)
    room: Any = build_room(settings, registry, TinyStore(build_store(settings), tmp_path))
    asyncio.run(load_engines(room, wanted_engines(["embed_dino_v2"], room)))
    assert room.pool.state(registry.engines["dinov2-base"]) is EngineState.READY
    assert room.pool.state(registry.engines["ViT-B-32"]) is EngineState.ON_DISK
    room.pool.close()
