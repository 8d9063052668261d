"""The endpoints of the classifiers: which there are, what they are, and whether what they see has drifted."""

import asyncio
from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from app.api.answers import json_response
from app.api.openapi import documented
from app.api.room import Room
from app.api.schemas import ClassifierHealthAnswer, ClassifiersAnswer
from app.core.classifier import ClassifierFacts
from app.core.errors import TaskError


@get(
    "/classifiers/",
    summary="List the classifiers",
    tags=["classifiers"],
    opt={"scope": "analyze"},
    responses=documented(ClassifiersAnswer, 503),
)
async def list_classifiers(room: NamedDependency[Room]) -> Response[bytes]:
    return json_response(await asyncio.to_thread(_listed, room))


@get(
    "/classifiers/{collection:str}/",
    summary="Describe the classifier that serves a collection",
    tags=["classifiers"],
    opt={"scope": "analyze"},
    responses=documented(ClassifierFacts, 404, 503),
)
async def show_classifier(collection: FromPath[str], room: NamedDependency[Room]) -> Response[bytes]:
    facts = await asyncio.to_thread(room.classifiers.facts, collection)
    return json_response(facts.model_dump(mode="json"))


@get(
    "/classifiers/{collection:str}/health",
    summary="Whether what a classifier is asked has drifted from what it was trained on",
    tags=["classifiers"],
    opt={"scope": "analyze"},
    responses=documented(ClassifierHealthAnswer, 404, 503),
)
async def classifier_health(collection: FromPath[str], room: NamedDependency[Room]) -> Response[bytes]:
    health = await asyncio.to_thread(room.classifiers.health, collection)
    shown = None if health is None else health.model_dump(mode="json")
    return json_response({"collection": collection, "watched": health is not None, "drift": shown})


def _listed(room: Room) -> dict[str, Any]:
    shown = []
    for collection in room.classifiers.collections():
        try:
            facts = room.classifiers.facts(collection).model_dump(mode="json")
            problem = room.classifiers.problem(collection)
        except TaskError as error:
            facts, problem = None, str(error)
        shown.append({"collection": collection, "classifier": facts, "problem": problem})
    return {"classifiers": shown}
