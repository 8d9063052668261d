"""The similarity index, asked by either client."""

import httpx
import pytest

from app.client import InvalidInput, Refused, Upload, index
from tests.images import encoded, noise
from tests.prepared import Answers
from tests.site import site

PICTURES = [encoded(noise(48, 48, seed=number)) for number in range(3)]


@pytest.fixture
def name(request, ask):
    name = f"c{abs(hash(request.node.name))}"
    ask("create", name, "embed_hog_hsv", "whole_image")
    return name


class TestIndex:
    def test_images_are_added_found_and_deleted(self, ask, name, tmp_path):
        (tmp_path / "a.png").write_bytes(PICTURES[0])
        uploads = [Upload(tmp_path / "a.png", "a", {"kind": "file"}), Upload(PICTURES[1], "b")]
        added = ask("add", name, uploads, thumbnails=True)
        assert [(each["id"], each["status"]) for each in added] == [("a", "success"), ("b", "success")]
        assert [each["id"] for each in ask("items", name)] == ["a", "b"]
        assert ask("item", name, "a")["thumbnail_base64"]
        assert ask("item", name, "a")["metadata"] == {"kind": "file"}
        (page,) = ask("vectors", name)
        assert page["space"] == ask("collection", name)["space"]
        assert [len(each["vectors"]) for each in page["items"]] == [1, 1]
        hits = ask("search", name, {"k": 1}, noise(48, 48, seed=1))["hits"]
        assert [hit["id"] for hit in hits] == ["b"]
        assert [hit["id"] for hit in ask("search", name, {"id": "a"})["hits"]] == ["b"]
        assert ask("delete", name, "a") is True
        assert ask("delete", name, "a") is False
        assert ask("item", name, "a") is None
        assert name in [each["name"] for each in ask("collections")]
        assert ask("drop", name) is True
        assert ask("drop", name) is False
        with pytest.raises(Refused, match=name) as refused:
            ask("collection", name)
        assert refused.value.status == 404

    def test_images_of_every_kind_in_their_order(self, ask, name):
        with site({"a.png": PICTURES[0]}) as elsewhere:
            images = [
                PICTURES[1],
                f"{elsewhere}/a.png",
                Upload(f"{elsewhere}/b.png", "gone"),
                noise(48, 48, 2),
            ]
            added = ask("add", name, images)
            assert [each["status"] == "success" for each in added] == [True, True, False, True]
            assert added[2]["error_code"] == "image_unavailable"
            hits = ask("search", name, {"k": 1}, f"{elsewhere}/a.png")["hits"]
        # Without an id an image has the hash of its file.
        assert hits[0]["id"] == added[1]["id"] == added[1]["sha256"]

    def test_images_by_their_ids(self, ask, name):
        ask("add", name, {"x": PICTURES[0], "y": PICTURES[1]})
        assert [each["id"] for each in ask("items", name)] == ["x", "y"]

    def test_more_than_a_request_takes(self, ask, name, monkeypatch):
        monkeypatch.setattr(index, "MOST_ITEMS", 2)
        uploads = [Upload(picture, f"{number}") for number, picture in enumerate(PICTURES)]
        assert [each["id"] for each in ask("add", name, uploads)] == ["0", "1", "2"]
        assert ask("collection", name)["items"] == 3

    def test_what_cannot_be_added(self, ask, name, tmp_path):
        with pytest.raises(FileNotFoundError):
            ask("add", name, [tmp_path / "gone.png"])
        with pytest.raises(InvalidInput, match="image: a float is none"):
            ask("add", name, [1.5])
        with pytest.raises(InvalidInput, match="metadata: cannot be written as JSON"):
            ask("add", name, [Upload(PICTURES[0], "a", {"tags": {1}})])

    def test_a_collection_that_is_there_already(self, ask, name):
        with pytest.raises(Refused) as refused:
            ask("create", name, "embed_hog_hsv")
        assert refused.value.status == 409

    def test_params_of_a_collection(self, ask, name):
        made = ask("create", f"{name}p", "embed_hog_hsv", params={"target": "prominent_face"})
        assert made["target"] == "prominent_face"


class TestRequests:
    def test_names_are_one_part_of_a_path(self):
        answers = Answers(httpx.Response(200, json={"name": "c"}))
        answers.ask(lambda server: server.item("..", "a/../b?c#d %41.png"))
        (request,) = answers.asked
        assert request.url.raw_path == b"/index/%2E%2E/items/a%2F%2E%2E%2Fb%3Fc%23d%20%2541%2Epng"

    @pytest.mark.parametrize("items", [[], None, 1])
    def test_results_that_are_not_of_the_images(self, items):
        answers = Answers(httpx.Response(200, json={"items": items}))
        with pytest.raises(Refused, match="not as a server of Sightgraph does"):
            answers.ask_blocking(lambda server: server.add("c", [b""]))

    def test_pages(self):
        def page(item, after):
            return httpx.Response(200, json={"items": [{"id": item}], "next": after, "space": None})

        answers = Answers(page("a", "a"), page("b", None))
        items = answers.ask_blocking(lambda server: [each["id"] for each in server.items("c")])
        assert items == ["a", "b"]
        assert [dict(request.url.params) for request in answers.asked] == [
            {"limit": "1000"},
            {"limit": "1000", "after": "a"},
        ]
