"""The index over HTTP and in the graph: collections, items, searches, duplicates."""

import asyncio
import hashlib
import io
import itertools
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import PIL.Image
import pytest
from skimage import data as pictures

from app.api.adding import embedded_in_time
from app.core.errors import CollectionNotFound, DeadlineExceeded, Overloaded
from app.core.resolver import Task, resolve
from app.engines.hashes import PerceptualHasher
from app.index.calls import Calls
from app.index.storage import Declaration, ItemRegion, NewItem, Query
from app.settings import Settings
from tests.conftest import ask, served
from tests.images import astronaut, encoded, noise

_numbers = itertools.count()


def photo(name: str) -> bytes:
    return encoded(getattr(pictures, name)())


@pytest.fixture
def make(client):
    """Makes a collection under a name of its own; gives the name."""
    made = []

    def make(operation: str = "embed_hog_hsv", **further: Any) -> str:
        name = f"photos-{next(_numbers)}"
        response = client.post("/index/", json={"name": name, "operation": operation, **further})
        assert response.status_code == 201, response.text
        made.append(name)
        return name

    yield make
    for name in made:
        client.delete(f"/index/{name}/")


def upload(client, collection: str, *files: bytes, **fields: Any) -> dict[str, Any]:
    response = client.post(
        f"/index/{collection}/items/",
        files=[("image_file", (f"{number}.png", data, "image/png")) for number, data in enumerate(files)],
        data=fields,
    )
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def add_vectors(client, collection: str, space: str, **vectors: list[float]) -> dict[str, Any]:
    items = [{"id": name, "vector": vector, "space": space} for name, vector in vectors.items()]
    response = client.post(f"/index/{collection}/items/", json={"items": items})
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def search(client, collection: str, **wanted: Any) -> dict[str, Any]:
    response = client.post(f"/index/{collection}/search/", json=wanted)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def search_by(client, collection: str, image: bytes, **wanted: Any) -> dict[str, Any]:
    response = client.post(
        f"/index/{collection}/search/",
        files={"image_file": ("query.png", image, "image/png")},
        data={"query_json": json.dumps(wanted)},
    )
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def ids(body: dict[str, Any]) -> list[str]:
    return [hit["id"] for hit in body["hits"]]


def unit(angle: float) -> list[float]:
    """A vector of the tests' own space, turned by an angle against the first axis."""
    values = np.zeros(2020)
    values[:2] = np.cos(angle), np.sin(angle)
    return [float(value) for value in values]


HOG_SPACE = "embed_hog_hsv/1"


class TestCollections:
    def test_one_is_made_described_listed_and_deleted(self, client, make):
        name = make(target="whole_image")
        described = client.get(f"/index/{name}/").json()
        assert described["name"] == name
        assert described["operation"] == "embed_hog_hsv"
        assert described["target"] == "whole_image"
        # Without a model the space is known before the first vector is.
        assert described["space"] == HOG_SPACE
        assert (described["dimensions"], described["items"], described["vectors"]) == (None, 0, 0)
        assert described in client.get("/index/").json()["collections"]
        assert client.delete(f"/index/{name}/").json() == {"deleted": name}
        assert client.get(f"/index/{name}/").status_code == 404

    def test_the_operation_has_its_own_default_target(self, client, make):
        name = make("embed_face")
        described = client.get(f"/index/{name}/").json()
        assert described["target"] == "prominent_face"
        # Which weights a model has is known when it has made a vector.
        assert described["space"] is None

    def test_a_name_is_taken_once(self, client, make):
        name = make()
        again = client.post("/index/", json={"name": name, "operation": "embed_clip"})
        assert again.status_code == 409
        assert name in again.json()["detail"]

    @pytest.mark.parametrize("name", ["", "a b", "a/b", "../x", ".hidden", "ü", "x" * 65, "-x", "a\n"])
    def test_a_name_is_plain(self, client, name):
        response = client.post("/index/", json={"name": name, "operation": "embed_hog_hsv"})
        assert response.status_code == 400
        assert response.json()["detail"].startswith("name: ")

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            ({"operation": "embed_hog"}, "Did you mean 'embed_hog_hsv'?"),
            ({"operation": "image_properties"}, "embeds no regions; these do: embed_auraface, embed_clip"),
            ({"operation": "search_similar"}, "embeds no regions"),
            ({"operation": "embed_hog_hsv", "target": "everything"}, "Unsupported target"),
            ({"operation": "embed_hog_hsv", "params": {"target": {"task": "x"}}}, "must be a named one"),
            ({"operation": "embed_hog_hsv", "params": {"target": {"bbox": [0, 0, 9, 9]}}}, "a named one"),
            ({"operation": "embed_hog_hsv", "params": {"size": 3}}, "size: is not a known field"),
            ({"operation": "embed_clip", "params": {"text": "a cat"}}, "looks at no image"),
            ({"operation": "embed_hog_hsv", "targets": "x"}, "targets: is not a known field"),
            ({}, "operation: is required"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, client, body, told):
        response = client.post("/index/", json={"name": "refused", **body})
        assert response.status_code == 400
        assert told in response.json()["detail"]
        assert client.get("/index/refused/").status_code == 404

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", ""),
            ("DELETE", ""),
            ("GET", "items/"),
            ("GET", "items/?vectors=true"),
            ("GET", "items/x"),
            ("DELETE", "items/x"),
            ("POST", "items/"),
            ("POST", "search/"),
            ("POST", "duplicates/"),
        ],
    )
    def test_one_that_is_not_there_is_told(self, client, make, method, path):
        name = make()
        bodies = {
            "items/": {"vector": [1.0], "space": "s"},
            "search/": {"vector": [1.0]},
            "duplicates/": {},
        }
        body = bodies.get(path) if method == "POST" else None
        response = client.request(method, f"/index/{name}x/{path}", json=body)
        assert response.status_code == 404
        assert f"'{name}x'" in response.json()["detail"]
        assert f"'{name}'" in response.json()["detail"], "the nearest name is told"


class TestAdding:
    def test_images_get_their_digest_as_id(self, client, make):
        name, image = make(), photo("coffee")
        body = upload(client, name, image)
        sha256 = hashlib.sha256(image).hexdigest()
        assert (body["added"], body["failed"]) == (1, 0)
        assert body["items"] == [
            {
                "id": sha256,
                "status": "success",
                "replaced": False,
                "regions": 1,
                "sha256": sha256,
                "warnings": [],
                "error_code": None,
                "error_message": None,
            }
        ]

    def test_several_have_their_ids_and_metadata_in_order(self, client, make):
        name = make()
        metadata = [json.dumps({"kind": "drink"}), json.dumps({"kind": "cat", "tags": ["a", {"b": None}]})]
        upload(client, name, photo("coffee"), photo("chelsea"), id=["one", "two"], metadata=metadata)
        listed = client.get(f"/index/{name}/items/").json()["items"]
        assert [(item["id"], item["metadata"]["kind"]) for item in listed] == [
            ("one", "drink"),
            ("two", "cat"),
        ]
        shown = client.get(f"/index/{name}/items/two").json()
        assert shown["metadata"] == {"kind": "cat", "tags": ["a", {"b": None}]}
        assert (shown["width"], shown["height"], shown["thumbnail_base64"]) == (451, 300, None)
        assert [(region["bbox"], len(region["phash"])) for region in shown["regions"]] == [(None, 16)]

    def test_the_same_id_again_replaces(self, client, make):
        name = make()
        upload(client, name, photo("coffee"), id="one", metadata='{"kind": "drink"}')
        body = upload(client, name, photo("chelsea"), id="one")
        assert body["items"][0]["replaced"] is True
        (item,) = client.get(f"/index/{name}/items/").json()["items"]
        assert item["metadata"] == {}
        assert ids(search_by(client, name, photo("chelsea"), min_score=0.999)) == ["one"]
        assert ids(search_by(client, name, photo("coffee"), min_score=0.999)) == []

    def test_a_bad_image_fails_alone(self, client, make):
        name = make()
        body = upload(client, name, photo("coffee"), b"no image", b"", id=["good", "bad", "empty"])
        assert [item["status"] for item in body["items"]] == ["success", "error", "error"]
        assert (body["added"], body["failed"]) == (1, 2)
        assert body["items"][1]["error_code"] == "image_unreadable"
        assert "Could not process image" in body["items"][1]["error_message"]
        assert client.get(f"/index/{name}/").json()["items"] == 1

    def test_an_image_behind_an_url_that_leads_nowhere_fails_alone(self, client, make):
        name = make()
        items = [
            {"image_url": "http://127.0.0.1/x.png", "id": "inside"},
            {"vector": unit(0), "space": HOG_SPACE, "id": "vector"},
        ]
        body = client.post(f"/index/{name}/items/", json={"items": items}).json()
        assert [item["status"] for item in body["items"]] == ["error", "success"]
        assert body["items"][0]["error_code"] == "image_unavailable"

    def test_every_face_is_indexed(self, client, make):
        name = make("embed_hog_hsv", target="all_faces")
        two = PIL.Image.new("RGB", (1024, 512))
        two.paste(PIL.Image.fromarray(astronaut()), (0, 0))
        two.paste(PIL.Image.fromarray(astronaut()[:, ::-1].copy()), (512, 0))
        body = upload(client, name, encoded(np.asarray(two)), photo("coffee"), id=["two", "none"])
        assert [item["regions"] for item in body["items"]] == [2, 0]
        shown = client.get(f"/index/{name}/items/two").json()
        boxes = [region["bbox"] for region in shown["regions"]]
        assert len(boxes) == 2
        assert {box[0] < 512 for box in boxes} == {True, False}
        described = client.get(f"/index/{name}/").json()
        assert (described["items"], described["vectors"]) == (2, 2)
        # Without a target of its own the query uses the collection's, and every face of it searches.
        hits = search_by(client, name, encoded(np.asarray(two)))["hits"]
        assert [(hit["id"], hit["score"]) for hit in hits] == [("two", 1.0), ("two", 1.0)]
        assert all(hit["bbox"] == hit["query_bbox"] for hit in hits)
        none = search_by(client, name, photo("coffee"))
        assert none["hits"] == []
        assert none["warnings"]

    def test_an_image_without_a_face_is_kept_without_vectors(self, client, make):
        """So that it is not looked at again and again, as with the targets that name all faces."""
        name = make("embed_hog_hsv", target="prominent_face")
        body = upload(client, name, photo("coffee"), id="none")
        (item,) = body["items"]
        assert (item["status"], item["regions"]) == ("success", 0)
        assert any("No prominent face found" in warning for warning in item["warnings"])
        described = client.get(f"/index/{name}/").json()
        assert (described["items"], described["vectors"]) == (1, 0)

    def test_a_model_that_is_absent_is_told(self, client, make):
        name = make("embed_clip")
        body = upload(client, name, photo("coffee"))
        assert (body["items"][0]["status"], body["items"][0]["error_code"]) == ("error", "model_unavailable")
        assert "sightgraph models pull" in body["items"][0]["error_message"]

    def test_thumbnails_are_kept_where_they_are_asked_for(self, client, make):
        name = make()
        upload(client, name, photo("coffee"), id="one", thumbnails="true")
        import base64

        shown = client.get(f"/index/{name}/items/one").json()
        picture = PIL.Image.open(io.BytesIO(base64.b64decode(shown["thumbnail_base64"])))
        assert (picture.format, max(picture.size)) == ("JPEG", 256)

    def test_vectors_of_another_space_are_refused_by_name(self, client, make):
        name = make()
        body = add_vectors(client, name, "clip/1/ViT-B-32/abc", a=unit(0))
        assert (body["items"][0]["status"], body["items"][0]["error_code"]) == ("error", "space_mismatch")
        assert HOG_SPACE in body["items"][0]["error_message"]
        assert "clip/1/ViT-B-32/abc" in body["items"][0]["error_message"]

    @pytest.mark.parametrize(
        ("vector", "told"),
        [
            ([1.0, 2.0], "has 2 dimensions"),
            ([0.0] * 2020, "is zero throughout"),
            ([1e39] + [0.0] * 2019, "finite"),
        ],
    )
    def test_vectors_that_cannot_be_compared_fail_alone(self, client, make, vector, told):
        name = make()
        body = add_vectors(client, name, HOG_SPACE, good=unit(0))
        body = add_vectors(client, name, HOG_SPACE, bad=vector, better=unit(1))
        assert [item["status"] for item in body["items"]] == ["skipped", "success"]
        assert body["items"][0]["error_code"] == "invalid_params"
        assert told in body["items"][0]["error_message"]

    @pytest.mark.parametrize(
        ("item", "told"),
        [
            ({}, "needs either image_url or vector"),
            ({"image_url": "http://x/", "vector": [1.0], "space": "s"}, "needs either image_url or vector"),
            ({"vector": [1.0]}, "vector and space go together"),
            ({"image_url": "http://x/", "space": "s"}, "vector and space go together"),
            ({"vector": [], "space": "s"}, "vector: List should have at least 1 item"),
            ({"vector": ["1"], "space": "s"}, "vector[0]: Input should be a valid number"),
            ({"vector": [None], "space": "s"}, "vector[0]: Input should be a valid number"),
            ({"vector": [1.0], "space": "s", "bbox": [5, 5, 5, 9]}, "bbox goes with a vector"),
            ({"image_url": "http://x/", "id": ""}, "id: String should have at least 1 character"),
            ({"image_url": "http://x/", "id": ".."}, "id: must not be"),
            ({"image_url": "http://x/", "id": "//"}, "id: must not be"),
            ({"image_url": "http://x/", "id": "a\u0000b"}, "id: has control characters or line breaks"),
            ({"image_url": "http://x/", "id": "x" * 513}, "id: String should have at most 512"),
            ({"image_url": "http://x/", "metadata": [1]}, "metadata: Input should be a valid dictionary"),
            ({"image_url": "http://x/", "metadata": {"a": "x" * 20_000}}, "at most 16384"),
            ({"image_url": "http://x/", "meta": {}}, "meta: is not a known field; did you mean 'metadata'?"),
        ],
    )
    @pytest.mark.parametrize("several", [False, True])
    def test_an_item_that_is_not_of_its_form_refuses_the_request(self, client, make, item, told, several):
        name = make()
        body = {"items": [item]} if several else item
        response = client.post(f"/index/{name}/items/", json=body)
        assert response.status_code == 400
        assert told.replace("16384", "16,384") in response.json()["detail"]
        assert client.get(f"/index/{name}/").json()["items"] == 0

    @pytest.mark.parametrize(
        ("fields", "told"),
        [
            ({"id": ["a"]}, "id: was sent 1 times for 2 files"),
            ({"id": ["a", "a"]}, "id: 'a' was sent several times"),
            ({"metadata": ["{}", "{"]}, "metadata: is not valid JSON"),
            ({"metadata": ["{}", "[]"]}, "metadata: Input should be a valid dictionary"),
            ({"thumbnails": "yes"}, "thumbnails: must be true or false"),
            ({"ids": "x"}, "ids: is not a known field of the form"),
        ],
    )
    def test_a_form_that_does_not_fit_is_refused(self, client, make, fields, told):
        name = make()
        files = [("image_file", (f"{n}.png", photo("coffee"), "image/png")) for n in range(2)]
        response = client.post(f"/index/{name}/items/", files=files, data=fields)
        assert response.status_code == 400
        assert told in response.json()["detail"]

    def test_nothing_to_add_is_refused(self, client, make):
        name = make()
        response = client.post(f"/index/{name}/items/", files={"thumbnails": (None, "true")})
        assert (response.status_code, response.json()) == (400, {"detail": "image_file: is required"})
        response = client.post(f"/index/{name}/items/", json={"items": []})
        assert response.status_code == 400
        assert response.json()["detail"].startswith("items: List should have at least 1 item")


ODD_IDS = [
    "a/b/c.jpg",
    "/leading",
    "trailing/",
    "a//b",
    "with space",
    "50%",
    "%2F",
    "q?x=1&y#z",
    "ünïcödé 猫",
    "'; DROP TABLE items; --",
    '"quoted"',
    "a\\b",
    "items/",
    "+",
    "...",
    "Screenshot at 10.31.12\u202fAM.png",
    "👩\u200d🚀",
    "x" * 512,
]


@pytest.fixture(scope="module")
def wire(room):
    """A real server: a test client decodes paths twice."""
    with served(room) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


class TestItems:
    @pytest.mark.parametrize("item_id", ODD_IDS)
    def test_odd_ids_are_found_and_deleted(self, wire, make, item_id):
        client, name = wire, make()
        items = [{"id": item_id, "vector": unit(0), "space": HOG_SPACE, "metadata": {"x": item_id}}]
        assert client.post(f"/index/{name}/items/", json={"items": items}).json()["added"] == 1
        path = f"/index/{name}/items/{quote(item_id, safe='')}"
        shown = client.get(path)
        assert shown.status_code == 200, shown.text
        assert (shown.json()["id"], shown.json()["metadata"]) == (item_id, {"x": item_id})
        assert ids(search(client, name, vector=unit(0), filter={"x": item_id})) == [item_id]
        assert client.delete(path).json() == {"deleted": 1}
        assert client.delete(path).status_code == 404
        assert client.get(path).status_code == 404
        assert search(client, name, vector=unit(0))["hits"] == []

    def test_a_vector_comes_back_as_it_was_given(self, client, make):
        name = make()
        vector = (np.arange(2020, dtype=np.float32) - 7.5).tolist()
        add_vectors(client, name, HOG_SPACE, one=vector)
        assert client.get(f"/index/{name}/items/one").json()["regions"][0]["vector"] is None
        shown = client.get(f"/index/{name}/items/one?vectors=true").json()
        assert shown["regions"][0]["vector"] == vector

    def test_a_listing_has_pages(self, client, make):
        name = make()
        vectors = {f"n{number}": unit(number / 10) for number in range(5)}
        add_vectors(client, name, HOG_SPACE, **vectors)
        seen, after = [], None
        while True:
            query = {"limit": 2} | ({} if after is None else {"after": after})
            page = client.get(f"/index/{name}/items/", params=query).json()
            seen += [item["id"] for item in page["items"]]
            after = page["next"]
            if after is None:
                break
        assert seen == sorted(vectors)

    def test_pages_of_vectors_join_and_say_their_space(self, client, make):
        name = make()
        empty = client.get(f"/index/{name}/items/?vectors=true").json()
        # Without a model the space is known before the first vector is.
        assert empty == {"items": [], "next": None, "space": HOG_SPACE}
        vectors = {f"n{number:03}": unit(number / 100) for number in range(150)}
        add_vectors(client, name, HOG_SPACE, **vectors)
        plain = client.get(f"/index/{name}/items/?limit=2").json()
        assert (plain["space"], [item["vectors"] for item in plain["items"]]) == (None, [None, None])
        seen: dict[str, Any] = {}
        sizes, query = [], {"limit": 1000, "vectors": "true"}
        while True:
            page = client.get(f"/index/{name}/items/", params=query).json()
            assert page["space"] == HOG_SPACE
            sizes.append(len(page["items"]))
            for item in page["items"]:
                (region,) = item["vectors"]
                assert (region["bbox"], region["phash"]) == (None, None)
                seen[item["id"]] = np.float32(region["vector"]).tolist()
            if page["next"] is None:
                break
            query["after"] = page["next"]
        assert list(seen) == sorted(vectors)
        assert {name: np.float32(vector).tolist() for name, vector in vectors.items()} == seen
        # Of 2020 numbers each a page holds no more.
        assert sizes == [129, 21]

    def test_vectors_are_listed_with_box_and_hash(self, client, make):
        name = make()
        upload(client, name, photo("coffee"), id="one")
        (listed,) = client.get(f"/index/{name}/items/?vectors=true").json()["items"]
        shown = client.get(f"/index/{name}/items/one?vectors=true").json()
        assert listed["vectors"] == shown["regions"]
        assert len(listed["vectors"][0]["phash"]) == 16

    @pytest.mark.parametrize("query", ["vectors=maybe", "vectors=true&limit=0", "vectors=true&limit=1001"])
    def test_a_page_of_vectors_is_bounded(self, client, make, query):
        response = client.get(f"/index/{make()}/items/?{query}")
        assert response.status_code == 400
        assert ("limit" if "limit" in query else "vectors") in response.json()["detail"]

    @pytest.mark.parametrize("limit", ["0", "1001", "x"])
    def test_a_page_is_bounded(self, client, make, limit):
        response = client.get(f"/index/{make()}/items/?limit={limit}")
        assert response.status_code == 400
        assert "limit" in response.json()["detail"]


class TestSearching:
    @pytest.fixture
    def turned(self, client, make):
        """A collection of vectors at angles of 0, 0.1, ... 0.9."""
        name = make()
        items = [
            {
                "id": f"n{number}",
                "vector": unit(number / 10),
                "space": HOG_SPACE,
                "metadata": {"number": number, "even": number % 2 == 0, "word": "abcdefghij"[number]},
            }
            for number in range(10)
        ]
        assert client.post(f"/index/{name}/items/", json={"items": items}).json()["added"] == 10
        return name

    def test_the_nearest_come_first_with_their_cosine(self, client, turned):
        hits = search(client, turned, vector=unit(0), k=3)["hits"]
        assert [hit["id"] for hit in hits] == ["n0", "n1", "n2"]
        assert [hit["score"] for hit in hits] == pytest.approx(np.cos([0, 0.1, 0.2]), abs=1e-5)
        assert hits[0] == {
            "id": "n0",
            "score": 1.0,
            "bbox": None,
            "metadata": {"number": 0, "even": True, "word": "a"},
            "region": 0,
            "query_bbox": None,
        }

    def test_pages_join_without_a_gap(self, client, turned):
        pages = [
            ids(search(client, turned, vector=unit(0), k=3, offset=offset)) for offset in (0, 3, 6, 9, 12)
        ]
        assert [len(page) for page in pages] == [3, 3, 3, 1, 0]
        assert [each for page in pages for each in page] == [f"n{number}" for number in range(10)]

    def test_a_least_score_cuts_the_hits(self, client, turned):
        found = search(client, turned, vector=unit(0), min_score=float(np.cos(0.25)))
        assert ids(found) == ["n0", "n1", "n2"]

    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            ({"number": 4}, ["n4"]),
            ({"even": True, "number": {"gte": 4}}, ["n4", "n6", "n8"]),
            ({"number": {"gt": 2, "lte": 4}}, ["n3", "n4"]),
            ({"word": {"in": ["j", "b", "z"]}}, ["n1", "n9"]),
            ({"or": [{"number": {"lt": 1}}, {"word": {"gte": "j"}}]}, ["n0", "n9"]),
            ({"missing": 1}, []),
            ({"missing": None}, []),
            ({}, [f"n{number}" for number in range(10)]),
        ],
    )
    def test_a_filter_chooses(self, client, turned, condition, expected):
        assert ids(search(client, turned, vector=unit(0), filter=condition)) == expected

    def test_an_item_searches_for_others(self, client, turned):
        assert ids(search(client, turned, id="n5", k=2)) in (["n4", "n6"], ["n6", "n4"])
        response = client.post(f"/index/{turned}/search/", json={"id": "n55"})
        assert response.status_code == 404
        assert "n55" in response.json()["detail"]

    def test_an_image_finds_itself_first(self, client, make):
        name = make()
        names = ["coffee", "chelsea", "rocket", "astronaut"]
        upload(client, name, *map(photo, names), id=names)
        for wanted in names:
            hits = search_by(client, name, photo(wanted))["hits"]
            assert len(hits) == 4
            assert (hits[0]["id"], hits[0]["score"]) == (wanted, 1.0)

    def test_a_part_of_the_image_can_search(self, client, make):
        name = make()
        upload(
            client, name, encoded(astronaut()[62:172, 181:268].copy()), photo("coffee"), id=["face", "cup"]
        )
        hits = search_by(
            client, name, encoded(astronaut()), params={"target": {"bbox": [181, 62, 268, 172]}}
        )["hits"]
        assert (hits[0]["id"], hits[0]["score"]) == ("face", 1.0)
        assert hits[0]["query_bbox"] == [181, 62, 268, 172]

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            ({}, "needs exactly one of image_url, text, id and vector"),
            ({"id": "n1", "text": "x"}, "needs exactly one of"),
            ({"vector": [1.0, 2.0]}, "has 2 dimensions"),
            ({"vector": [0.0] * 2020}, "is zero throughout"),
            ({"text": "a cat"}, "embeds no texts; these do: embed_clip, embed_clip_vit_b_32"),
            ({"id": "n1", "k": 0}, "k: Input should be greater than or equal to 1"),
            ({"id": "n1", "k": 1001}, "k: Input should be less than or equal to 1000"),
            ({"id": "n1", "k": 1000, "offset": 1}, "offset + k must be at most 1000"),
            ({"id": "n1", "min_score": 2}, "min_score: Input should be less than or equal to 1"),
            ({"id": "n1", "filter": {"number": {"near": 3}}}, "filter: number.near: is no condition"),
            (
                {"id": "n1", "filter": {"number": [3]}},
                "filter: number: must be one value; for one of several",
            ),
            ({"id": "n1", "params": {"target": "all_faces"}}, "params go with an image"),
            ({"id": "n1", "limit": 3}, "limit: is not a known field"),
            ({"image_url": "http://127.0.0.1/x.png"}, "Could not download image from URL"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, client, turned, body, told):
        response = client.post(f"/index/{turned}/search/", json=body)
        assert response.status_code == 400
        assert told in response.json()["detail"]

    def test_a_vector_of_another_space_is_refused_by_name(self, client, turned):
        response = client.post(f"/index/{turned}/search/", json={"vector": unit(0), "space": "clip/1"})
        assert response.status_code == 409
        assert HOG_SPACE in response.json()["detail"]
        assert "clip/1" in response.json()["detail"]

    def test_an_empty_collection_answers_no_hits(self, client, make):
        name = make()
        assert search(client, name, vector=unit(0))["hits"] == []
        assert search_by(client, name, photo("coffee"))["hits"] == []

    def test_an_image_that_cannot_be_read_is_told(self, client, make):
        name = make()
        response = client.post(f"/index/{name}/search/", files={"image_file": ("x.png", b"nothing")})
        assert response.status_code == 400
        assert "Could not process image" in response.json()["detail"]


class TestUnderPressure:
    """What a slow storage, a hostile body or a change meanwhile must not do."""

    def test_a_slow_index_holds_up_no_analysis(self, room, client, make):
        """All of its threads wait for the disk, and images are analysed meanwhile."""
        collection = room.index.find(make())
        items = [NewItem(f"{number}", (ItemRegion(np.ones(2020, np.float32)),)) for number in range(20)]

        async def scenario() -> None:
            with closing(sqlite3.connect(Settings().data / "index" / "index.sqlite")) as tool:
                # As a tool does that looks at the file from outside.
                tool.execute("BEGIN IMMEDIATE")
                hung = [
                    asyncio.create_task(room.index.call(collection.add, item, HOG_SPACE)) for item in items
                ]
                await asyncio.sleep(0.05)
                plan = resolve([Task("t", "embed_hog_hsv", {})], room.registry, room.pool.choose)
                run = await asyncio.wait_for(room.executor.run(plan, room.source(photo("brick"))), 20)
                assert run.outcomes[0].fault is None
                assert not any(task.done() for task in hung)
                tool.rollback()
            assert await asyncio.gather(*hung) == [False] * len(items)

        asyncio.run(scenario())
        assert client.get(f"/index/{collection.name}/").json()["items"] == len(items)

    def test_more_calls_than_may_wait_are_told_to_come_back(self):
        async def scenario() -> None:
            calls, let_go = Calls(1, 1, "test"), threading.Event()
            first, second = (asyncio.create_task(calls(let_go.wait, 30)) for _ in range(2))
            await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                await calls(len, "x")
            second.cancel()
            let_go.set()
            assert await first
            await asyncio.gather(second, return_exceptions=True)
            await asyncio.sleep(0.05)
            assert await calls(len, "x") == 1
            calls.close()

        asyncio.run(scenario())

    def test_json_beyond_its_limit_is_refused_before_it_is_read(self, wire, make):
        name = make()

        def endless() -> Iterator[bytes]:
            for _ in range(400):
                yield b" " * 100_000

        response = wire.post(f"/index/{name}/items/", content=endless())
        assert response.status_code == 413
        assert "10,000,000 bytes" in response.json()["detail"]

    def test_a_collection_that_was_made_anew_meanwhile_takes_nothing_foreign(self, room, client, make):
        name = make()
        planned = room.index.find(name)
        client.delete(f"/index/{name}/")
        client.post("/index/", json={"name": name, "operation": "embed_face"})
        item = NewItem("late", (ItemRegion(np.ones(2020, np.float32)),))
        with pytest.raises(CollectionNotFound, match="made anew"):
            planned.add(item, HOG_SPACE)
        with pytest.raises(CollectionNotFound, match="made anew"):
            planned.nearest(np.ones((1, 2020), np.float32), Query())
        described = client.get(f"/index/{name}/").json()
        assert (described["items"], described["space"]) == (0, None)

    def test_the_first_vector_must_lie_in_the_space_of_the_operation(self, client, make):
        name = make("embed_face")
        body = add_vectors(client, name, "made up", a=[1.0, 0.0])
        assert body["items"][0]["error_code"] == "space_mismatch"
        assert "made up" in body["items"][0]["error_message"]
        assert client.get(f"/index/{name}/").json()["space"] is None

    def test_wrong_first_dimensions_last_only_as_long_as_their_item(self, client, make):
        name = make()
        assert add_vectors(client, name, HOG_SPACE, wrong=[1.0])["added"] == 1
        assert upload(client, name, photo("coffee"))["failed"] == 1
        client.delete(f"/index/{name}/items/wrong")
        assert client.get(f"/index/{name}/").json()["dimensions"] is None
        assert upload(client, name, photo("coffee"))["added"] == 1

    def test_a_collection_may_be_named_items(self, wire):
        wire.delete("/index/items/")
        wire.post("/index/", json={"name": "items", "operation": "embed_hog_hsv"}).raise_for_status()
        add_vectors(wire, "items", HOG_SPACE, **{"x": unit(0), "items/x": unit(1)})
        assert wire.get("/index/items/items/x").json()["id"] == "x"
        assert wire.delete("/index/items/items/x").json() == {"deleted": 1}
        assert wire.get("/index/items/items/items%2Fx").json()["id"] == "items/x"
        wire.delete("/index/items/")

    @pytest.mark.parametrize("field", ["self", "chosen", "collection", "__class__"])
    def test_params_of_any_name_are_only_unknown(self, client, make, field):
        name = make()
        response = client.post(
            f"/index/{name}/search/",
            files={"image_file": ("x.png", photo("coffee"))},
            data={"query_json": json.dumps({"params": {field: 1}})},
        )
        assert response.status_code == 400
        assert f"{field}: is not a known field" in response.json()["detail"]

    def test_the_deadline_covers_the_reading_of_many(self):
        async def scenario() -> None:
            read = []

            async def slow() -> bytes:
                read.append(1)
                await asyncio.sleep(30)
                return b""

            async def embed(data: bytes, seconds: float) -> None:
                raise AssertionError("nothing was read")

            for deadline in (time.monotonic() + 0.05, time.monotonic() - 1):
                with pytest.raises(DeadlineExceeded):
                    await embedded_in_time(slow, embed, deadline)

        asyncio.run(scenario())

    def test_half_of_an_item_is_not_kept(self, room, client, make, monkeypatch):
        """Where its hash fails, the item fails: it would look whole for ever."""
        name = make()

        def broken(*_: Any) -> Any:
            raise RuntimeError("no hash")

        monkeypatch.setattr(PerceptualHasher, "phashes", broken)
        body = upload(client, name, encoded(noise(50, 40, seed=99)), id="half")
        assert (body["items"][0]["status"], body["items"][0]["error_code"]) == ("error", "internal")
        assert client.get(f"/index/{name}/").json()["items"] == 0

    def test_regions_that_ask_for_too_many_hits_together_are_told(self, client, make):
        name = make(target="all_faces")
        face = astronaut()[:260:2, 120:380:2]
        response = client.post(
            f"/index/{name}/search/",
            files={"image_file": ("x.png", encoded(np.tile(face, (3, 4, 1))))},
            data={"query_json": '{"k": 1000}'},
        )
        assert response.status_code == 400
        assert "12 regions search together, for 12,000 hits" in response.json()["detail"]


class TestText:
    def test_a_collection_tells_whether_texts_find_its_items(self, client, make):
        for operation, takes_text in (("embed_clip", True), ("embed_hog_hsv", False)):
            name = make(operation)
            assert client.get(f"/index/{name}/").json()["takes_text"] is takes_text
            listed = client.get("/index/").json()["collections"]
            assert {each["name"]: each["takes_text"] for each in listed}[name] is takes_text

    def test_a_text_finds_images_in_its_space(self, tiny_client):
        for operation, params in (("embed_clip", {"model": "ViT-B-32"}), ("embed_clip_vit_b_32", {})):
            body = {"name": f"texts-{operation}", "operation": operation, "params": params}
            assert tiny_client.post("/index/", json=body).status_code == 201
            upload(tiny_client, body["name"], photo("coffee"), photo("chelsea"), id=["cup", "cat"])
            described = tiny_client.get(f"/index/{body['name']}/").json()
            assert described["space"].startswith("clip/")
            found = search(tiny_client, body["name"], text="a cat")["hits"]
            assert {hit["id"] for hit in found} == {"cup", "cat"}
            # The score is the cosine that the tasks of a request give.
            answer = ask(
                tiny_client,
                photo("chelsea"),
                {"operation_id": "image", "type": "embed_clip", "params": {"model": "ViT-B-32"}},
                {"operation_id": "text", "type": "embed_clip", "params": {"text": "a cat"}},
                {"operation_id": "likeness", "type": "compare", "params": {"a": "image", "b": "text"}},
            )["results"]["likeness"]["data"]
            (score,) = [hit["score"] for hit in found if hit["id"] == "cat"]
            assert score == pytest.approx(answer["cosine"], abs=2e-6)


class TestInTheGraph:
    @pytest.fixture
    def filled(self, client, make):
        name = make()
        names = ["coffee", "chelsea", "rocket", "astronaut"]
        upload(client, name, *map(photo, names), id=names, metadata=[json.dumps({"n": n}) for n in names])
        return name

    def test_a_search_shares_the_embedding_of_other_tasks(self, client, analyze, filled):
        tasks = [
            {"operation_id": "vector", "type": "embed_hog_hsv"},
            {"operation_id": "like", "type": "search_similar", "params": {"collection": filled, "k": 2}},
            {"operation_id": "copies", "type": "find_duplicates", "params": {"collection": filled}},
        ]
        plan = client.post("/plan/", json={"tasks": tasks}).json()
        (embedding,) = [node for node in plan["nodes"] if node["operation"] == "embed_hog_hsv"]
        assert embedding["tasks"] == ["vector", "like", "copies"]
        results = analyze(photo("coffee"), *tasks)["results"]
        hits = results["like"]["data"]["hits"]
        assert len(hits) == 2
        assert hits[0] == {
            "id": "coffee",
            "score": 1.0,
            "bbox": None,
            "metadata": {"n": "coffee"},
            "region": 0,
        }
        assert [each["id"] for each in results["copies"]["data"]["duplicates"]] == ["coffee"]

    def test_a_filter_and_a_least_score_hold(self, analyze, filled):
        params = {"collection": filled, "filter": {"n": {"in": ["rocket", "chelsea"]}}, "min_score": -1}
        answer = analyze(photo("coffee"), {"operation_id": "s", "type": "search_similar", "params": params})
        assert {hit["id"] for hit in answer["results"]["s"]["data"]["hits"]} == {"rocket", "chelsea"}

    def test_an_answer_is_kept_until_the_collection_changes(self, client, analyze, filled):
        task = {"operation_id": "s", "type": "search_similar", "params": {"collection": filled, "k": 1}}
        for _ in range(2):
            answer = analyze(photo("moon"), task)["results"]["s"]
        assert answer["timing_ms"] == 0
        upload(client, filled, photo("moon"), id="moon")
        answer = analyze(photo("moon"), task)["results"]["s"]
        assert answer["data"]["hits"][0]["id"] == "moon"
        client.delete(f"/index/{filled}/items/moon")
        assert analyze(photo("moon"), task)["results"]["s"]["data"]["hits"][0]["id"] != "moon"

    def test_the_collections_own_target_is_used_where_none_is_named(self, client, analyze, make):
        name = make(target="all_faces")
        upload(client, name, encoded(astronaut()), id="astronaut")
        tasks = [
            {"operation_id": "own", "type": "search_similar", "params": {"collection": name}},
            {
                "operation_id": "one",
                "type": "search_similar",
                "params": {"collection": name, "target": "prominent_face", "face_context": "whole_image"},
            },
            {"operation_id": "face", "type": "detect_bounding_box", "params": {"target": "all_faces"}},
            {
                "operation_id": "task",
                "type": "search_similar",
                "params": {"collection": name, "target": {"task": "face"}},
            },
        ]
        results = analyze(encoded(astronaut()), *tasks)["results"]
        for plural in ("own", "task"):
            (item,) = results[plural]["items"]
            assert item["data"]["hits"][0]["id"] == "astronaut"
            assert item["data"]["hits"][0]["bbox"] == item["bbox"]
        assert results["one"]["data"]["hits"][0]["score"] == 1.0
        assert results["one"]["cropped_image_base64"]

    def test_an_unknown_collection_is_skipped_alone(self, analyze, filled):
        answer = analyze(
            photo("coffee"),
            {"operation_id": "bad", "type": "search_similar", "params": {"collection": f"{filled}x"}},
            {"operation_id": "good", "type": "search_similar", "params": {"collection": filled}},
        )["results"]
        assert (answer["bad"]["status"], answer["bad"]["error_code"]) == ("skipped", "collection_not_found")
        assert f"'{filled}'" in answer["bad"]["error_message"]
        assert answer["good"]["status"] == "success"

    @pytest.mark.parametrize(
        ("params", "told"),
        [
            ({}, "collection: is required"),
            ({"collection": ""}, "collection: String should have at least 1 character"),
            ({"collection": "x", "k": 0}, "k: Input should be greater than or equal to 1"),
            ({"collection": "x", "k": 10**9}, "k: Input should be less than or equal to 100"),
            ({"collection": "x", "filter": {"a": {"b": 1}}}, "filter: a.b: is no condition"),
            ({"collection": "x", "filter": [1]}, "filter: Input should be an object"),
        ],
    )
    @pytest.mark.parametrize("type_", ["search_similar", "find_duplicates"])
    def test_params_that_do_not_fit_are_told(self, analyze, type_, params, told):
        answer = analyze(photo("coffee"), {"operation_id": "t", "type": type_, "params": params})
        result = answer["results"]["t"]
        assert (result["status"], result["error_code"]) == ("skipped", "invalid_params")
        assert told in result["error_message"]

    def test_vectors_of_another_space_are_never_compared(self, room, client, analyze):
        """As after a change of the model: the collection's vectors were made by an older one."""
        room.index.storage.create(
            Declaration("old", "embed_hog_hsv", {"target": "whole_image"}, space="embed_hog_hsv/0")
        )
        try:
            task = {"operation_id": "t", "type": "search_similar", "params": {"collection": "old"}}
            result = analyze(photo("coffee"), task)["results"]["t"]
            assert (result["status"], result["error_code"]) == ("error", "space_mismatch")
            assert "embed_hog_hsv/0" in result["error_message"]
            assert HOG_SPACE in result["error_message"]
            # Hashes have no such space.
            task = {
                "operation_id": "t",
                "type": "find_duplicates",
                "params": {"collection": "old", "by": "perceptual_hash"},
            }
            assert analyze(photo("coffee"), task)["results"]["t"]["data"] == {"duplicates": []}
            body = upload(client, "old", photo("coffee"))
            assert body["items"][0]["error_code"] == "space_mismatch"
        finally:
            room.index.storage.drop("old")


def recompressed(image: bytes) -> bytes:
    file = io.BytesIO()
    PIL.Image.open(io.BytesIO(image)).convert("RGB").save(file, "JPEG", quality=60)
    return file.getvalue()


class TestDuplicates:
    @pytest.fixture
    def filled(self, client, make):
        name = make()
        files = {"coffee": photo("coffee"), "copy": recompressed(photo("coffee")), "cat": photo("chelsea")}
        upload(client, name, *files.values(), id=list(files))
        return name

    @pytest.mark.parametrize("by", ["vector", "perceptual_hash"])
    def test_copies_in_a_collection_are_grouped(self, client, filled, by):
        response = client.post(f"/index/{filled}/duplicates/", json={"by": by})
        (group,) = response.json()["groups"]
        assert {member["id"] for member in group["items"]} == {"coffee", "copy"}

    def test_an_image_is_told_its_copies(self, analyze, filled):
        tasks = [
            {"operation_id": by, "type": "find_duplicates", "params": {"collection": filled, "by": by}}
            for by in ("vector", "perceptual_hash")
        ]
        results = analyze(photo("coffee"), *tasks)["results"]
        by_vector = results["vector"]["data"]["duplicates"]
        assert [each["id"] for each in by_vector] == ["coffee", "copy"]
        assert [each["distance"] for each in by_vector] == [None, None]
        by_hash = results["perceptual_hash"]["data"]["duplicates"]
        assert [each["id"] for each in by_hash] == ["coffee", "copy"]
        assert by_hash[0]["distance"] == 0
        assert by_hash[0]["score"] is None

    def test_the_hash_is_that_of_hash_perceptual(self, client, analyze, filled):
        told = analyze(photo("chelsea"), {"operation_id": "h", "type": "hash_perceptual"})["results"]["h"]
        shown = client.get(f"/index/{filled}/items/cat").json()
        assert shown["regions"][0]["phash"] == told["data"]["phash"]

    @pytest.mark.parametrize("fields", [{}, {"by": "vector", "operation": "embed_hog_hsv"}])
    def test_copies_in_an_uploaded_set_are_grouped(self, client, fields):
        images = [
            photo("coffee"), photo("chelsea"), recompressed(photo("coffee")), b"broken",
            recompressed(photo("chelsea")), recompressed(photo("coffee")), photo("rocket"),
        ]  # fmt: skip
        files = [("image_file", (f"{number}.img", image)) for number, image in enumerate(images)]
        response = client.post("/find_duplicates/", files=files, data=fields)
        assert response.status_code == 200, response.text
        body = response.json()
        assert [[member["number"] for member in group["items"]] for group in body["groups"]] == [
            [0, 2, 5],
            [1, 4],
        ]
        assert body["groups"][1]["items"][0]["id"] == "1.img"
        (failed,) = body["failed"]
        assert (failed["number"], failed["error_code"]) == (3, "image_unreadable")

    @pytest.mark.parametrize(
        ("count", "fields", "told"),
        [
            (1, {}, "image_file: 2 to 256 files are needed"),
            (2, {"by": "vector"}, "operation is needed by vector"),
            (2, {"by": "vector", "operation": "read_codes"}, "embeds no regions"),
            (2, {"by": "vector", "operation": "embed_hog"}, "Did you mean 'embed_hog_hsv'?"),
            (2, {"by": "colour"}, "by: Input should be 'vector' or 'perceptual_hash'"),
            (2, {"max_distance": "x"}, "max_distance: is not valid JSON"),
            (2, {"max_distance": "17"}, "max_distance: Input should be less than or equal to 16"),
        ],
    )
    def test_a_set_that_does_not_fit_is_refused(self, client, count, fields, told):
        files = [("image_file", (f"{number}.png", photo("coffee"))) for number in range(count)]
        response = client.post("/find_duplicates/", files=files, data=fields)
        assert response.status_code == 400
        assert told in response.json()["detail"]
