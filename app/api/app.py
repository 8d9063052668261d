"""The HTTP application."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi.config import OpenAPIConfig

from app.api import errors
from app.api.analyze import FORM_OVERHEAD_BYTES, analyze_image, analyze_image_upload
from app.api.application import Application
from app.api.batch import analyze_batch
from app.api.catalog import available_operations
from app.api.classifiers import classifier_health, list_classifiers, show_classifier
from app.api.deadline import seconds_given
from app.api.discretion import keep_discreet
from app.api.doors import OPEN, UNGUARDED, Doors, DoorsMiddleware, check_declared, send_security_headers
from app.api.duplicates import find_in_collection, find_in_set
from app.api.gauges import metrics
from app.api.health import live, ready
from app.api.index import (
    add_items,
    create_collection,
    delete_collection,
    delete_item,
    describe_collection,
    list_collections,
    list_items,
    search,
    show_item,
)
from app.api.models import list_models, load_model, pull_model, show_model, unload_model
from app.api.openapi import RegistryDocument
from app.api.plan import show_plan
from app.api.playground import PAGES
from app.api.request_id import send_request_id
from app.api.room import Room
from app.core.errors import RequestError, TaskError

Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]

TITLE = "Sightgraph"


def build_app(
    room: Room, version: str, lifespan: Lifespan, doors: Doors = UNGUARDED, *, playground: bool = True
) -> Application:
    """The application over its parts.

    Args:
        room: what the handlers work with.
        version: shown in the OpenAPI document.
        lifespan: entered when the server starts and left when it stops.
        doors: who may come in.
        playground: whether it has pages for people.
    """

    keep_discreet()

    def provide_room() -> Room:
        return room

    app = Application(
        room,
        route_handlers=[
            analyze_image,
            analyze_image_upload,
            analyze_batch,
            available_operations,
            show_plan,
            create_collection,
            list_collections,
            describe_collection,
            delete_collection,
            add_items,
            list_items,
            show_item,
            delete_item,
            search,
            find_in_collection,
            find_in_set,
            list_classifiers,
            show_classifier,
            classifier_health,
            list_models,
            show_model,
            pull_model,
            load_model,
            unload_model,
            live,
            ready,
            metrics,
            *(PAGES if playground else ()),
        ],
        dependencies={
            "room": Provide(provide_room, sync_to_thread=False),
            "seconds": Provide(seconds_given, sync_to_thread=False),
        },
        exception_handlers={
            RequestError: errors.refuse,
            TaskError: errors.refuse_task,
            errors.FaultOfAll: errors.refuse_task,
            HTTPException: errors.refuse_http,
            Exception: errors.fail,
        },
        middleware=[DoorsMiddleware(doors)],
        before_send=[send_request_id, send_security_headers],
        cors_config=doors.cors,
        request_max_body_size=room.limits.max_image_bytes + FORM_OVERHEAD_BYTES,
        openapi_config=OpenAPIConfig(
            title=TITLE,
            version=version,
            render_plugins=[RegistryDocument(room.registry, keyed=bool(doors.keys))],
            openapi_router=Router("/schema", route_handlers=[], opt={"scope": OPEN}, include_in_schema=False),
        ),
        lifespan=[lifespan],
        logging_config=None,
    )
    check_declared(app)
    return app
