"""The similarity index, asked by either client."""

import httpx
import pytest

from app.api.index_schemas import AddedItem
from app.client import InvalidInput, Refused, ServerFull, Upload, adding
from app.client.wire import BLOCK_BYTES
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
        monkeypatch.setattr(adding, "BLOCK_IMAGES", 2)
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
        with pytest.raises(InvalidInput, match="id: must be a text, not 1; give it as a str"):
            ask("add", name, {1: PICTURES[0]})
        with pytest.raises(InvalidInput, match="id: must be a text, not 1"):
            ask("add", name, [Upload("http://127.0.0.1:1/a.png", 1)])
        with pytest.raises(InvalidInput, match=r"id: 'a\\udcff' has characters that UTF-8 has not"):
            ask("add", name, [Upload(PICTURES[0], "a\udcff")])

    def test_a_collection_that_is_missing_is_no_missing_item(self, ask, name):
        for method in ("item", "delete"):
            with pytest.raises(Refused, match=f"There is no collection '{name}-typo'") as refused:
                ask(method, f"{name}-typo", "a")
            assert refused.value.status == 404

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

    @pytest.mark.parametrize("ask", [Answers.ask, Answers.ask_blocking])
    @pytest.mark.parametrize(
        "wanted",
        [
            lambda server: server.item("c", "a"),
            lambda server: server.delete("c", "a"),
            lambda server: server.drop("c"),
        ],
    )
    def test_another_server_has_no_say_in_what_is_there(self, ask, wanted):
        answers = Answers(httpx.Response(404, json={"detail": "Not Found"}))
        with pytest.raises(Refused, match="Not Found"):
            ask(answers, wanted)

    @pytest.mark.parametrize(
        ("wanted", "told"),
        [
            (lambda server: server.item("c", ""), "id: must not be empty"),
            (lambda server: server.delete("", "a"), "collection: must not be empty"),
            (lambda server: server.collection("a\udcff"), "collection: .* characters that UTF-8 has not"),
            (lambda server: server.item("c", 1), "id: must be a text, not 1"),
        ],
    )
    def test_what_can_be_no_part_of_a_path(self, wanted, told):
        answers = Answers(httpx.Response(200, json={"items": [], "next": None}))
        with pytest.raises(InvalidInput, match=told):
            answers.ask_blocking(wanted)
        assert answers.asked == []

    @pytest.mark.parametrize("ask", [Answers.ask, Answers.ask_blocking])
    @pytest.mark.parametrize("status", [413, 429])
    def test_what_is_too_much_at_once_is_added_in_smaller_requests(self, ask, status):
        refused = httpx.Response(status, json={"detail": "send fewer at once"})
        one = httpx.Response(200, json={"items": [{"id": "a"}]})
        two = httpx.Response(200, json={"items": [{"id": "a"}, {"id": "b"}]})
        answers = Answers(refused, two, refused, one, one, one)
        uploads = [b"0", b"1", b"2", b"3", "http://a/"]
        got = ask(answers, lambda server: server.add("c", uploads))
        assert [each["id"] for each in got] == ["a", "b", "a", "a", "a"]
        assert answers.images == [4, 2, 2, 1, 1, 0]

    @pytest.mark.parametrize("ask", [Answers.ask, Answers.ask_blocking])
    def test_an_image_that_is_too_large_for_a_proxy_fails_alone(self, ask):
        small = httpx.Response(413, json={"detail": "too large"})
        answers = Answers(small, small, httpx.Response(200, json={"items": [{"id": "b"}]}))
        failed, fine = ask(answers, lambda server: server.add("c", {"a": b"0", "b": b"1"}))
        assert (failed["id"], failed["status"], failed["error_code"]) == ("a", "error", "image_too_large")
        # It has all that the server's own have.
        assert failed.keys() == AddedItem.model_fields.keys()
        assert failed["error_message"] == "too large"
        assert fine == {"id": "b"}
        assert answers.images == [2, 1, 1]

    @pytest.mark.parametrize(("status", "kind"), [(429, Refused), (503, ServerFull)])
    def test_an_image_that_is_too_much_alone(self, status, kind):
        headers = {"Retry-After": "0"} if status == 503 else {}
        answers = Answers(httpx.Response(status, headers=headers, json={"detail": "too much"}))
        with pytest.raises(kind, match="too much"):
            answers.ask_blocking(lambda server: server.add("c", [b"0"]), retries=0)
        assert len(answers.asked) == 1

    def test_requests_are_bounded_in_bytes(self, tmp_path):
        large = tmp_path / "large.jpg"
        with large.open("wb") as file:
            # Not on the disk: a file of zeros without blocks.
            file.truncate(BLOCK_BYTES + 1)
        half = tmp_path / "half.jpg"
        half.write_bytes(bytes(BLOCK_BYTES // 2))
        made = adding.Adding("c", [half, b"a", half, large, b"b"], thumbnails=False)
        sent = []
        while (call := made.call()) is not None:
            sent.append(call.request.files)
            made.answered([{}] * len(call.request.files))
        assert [len(files) for files in sent] == [2, 1, 1, 1]
        # None is open meanwhile but what is larger than a request's share.
        assert [file.content for files in sent for file in files if not isinstance(file.content, bytes)] == [
            large
        ]

    def test_pages_that_lead_nowhere(self):
        answers = Answers(httpx.Response(200, json={"items": [], "next": "a"}))
        with pytest.raises(Refused, match="not as a server of Sightgraph does"):
            answers.ask_blocking(lambda server: list(server.vectors("c")))
        assert len(answers.asked) == 2

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
