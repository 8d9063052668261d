"""Training rows from a server, from a file and from a folder."""

import email.utils
import gzip
import html
import json
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.cli.embedding import Embedded, EmbeddedFiles
from app.cli.labelled_folder import FolderSource, arranged
from classifiers.rows import Embedding, SourceError
from classifiers.sources import download
from classifiers.sources.download import DownloadLimits, Downloads
from classifiers.sources.http import HttpSource
from classifiers.sources.jsonl import MAX_LINE_BYTES, JsonlSource
from classifiers.sources.page import json_in
from tests.classifiers.site import CLIP, FOCUS, Answer, Site, as_json, as_page, row

DINO = "embed_dino_v3"


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture
def waits() -> list[float]:
    """How long a source wanted to wait."""
    return []


@pytest.fixture
def open_source(site: Site, waits: list[float]) -> Iterator[Callable[..., HttpSource]]:
    opened: list[HttpSource] = []

    def open_source(
        *embeddings: str,
        url: str = "",
        target: str | None = None,
        stated: Mapping[str, Any] | None = None,
        **limits: Any,
    ) -> HttpSource:
        downloads = Downloads(DownloadLimits(**limits), sleep=waits.append)
        asked = [Embedding(each) for each in embeddings]
        source = HttpSource(url or site.url, asked, target, downloads, **(stated or {}))
        opened.append(source)
        return source

    yield open_source
    for source in opened:
        source.close()


def refusal(source: Any, name: str = "7") -> str:
    with pytest.raises(SourceError) as caught:
        source.training_set(name)
    return str(caught.value)


class TestHttp:
    def test_a_collection_as_image_embed_has_it(self, site, open_source):
        site.has(row(11, True, 1, 0.5), row(12, False, 0, 1), row("a-13", True, 1, 1))
        source = open_source()
        assert source.collections() == ["7"]
        found = source.training_set("7")
        assert (found.name, found.target, found.embeddings) == ("7", "prominent_face", (Embedding(CLIP),))
        assert (found.labels, found.positive) == (("negative", "positive"), "positive")
        assert [(each.photo_id, each.label) for each in found.rows] == [
            ("11", "positive"),
            ("12", "negative"),
            ("a-13", "positive"),
        ]
        np.testing.assert_array_equal(found.rows[0].vectors[0], np.array([1, 0.5], np.float32))
        assert found.rows[0].vectors[0].dtype == np.float32
        assert found.spaces == (None,)
        assert found.notes == ()
        assert site.asked == [
            "/collections.json",
            f"/collections/7/training_data.json?embedding_type={CLIP}",
        ]
        assert source.training_set("boxy").name == "7"

    @pytest.mark.parametrize(
        ("labels", "names", "positive"),
        [
            ([1, 0], ["positive", "negative"], "positive"),
            (["TRUE", " false "], ["positive", "negative"], "positive"),
            (["yes", False], ["positive", "negative"], "positive"),
            (["cat", "dog"], ["cat", "dog"], None),
            (["yes", "maybe"], ["yes", "maybe"], None),
            ([3, 1], ["3", "1"], None),
        ],
    )
    def test_labels(self, site, open_source, labels, names, positive):
        site.has(*(row(number, label, 1) for number, label in enumerate(labels)))
        found = open_source().training_set("7")
        assert [each.label for each in found.rows] == names
        assert set(found.labels) == set(names)
        assert found.positive == positive

    def test_true_beside_the_names_of_classes_is_refused(self, site, open_source):
        site.has(row(1, "cat", 1), row(2, True, 1))
        assert "rows[1]: label: is true" in refusal(open_source())
        site.has(row(1, "cat", 1), row(2, "  ", 1))
        assert "rows[1]: label: is empty" in refusal(open_source())

    @pytest.mark.parametrize(
        ("spelling", "target"),
        [
            ("whole_image", "whole_image"),
            ("Whole", "whole_image"),
            ("person", "prominent_person"),
            ("prominent-person", "prominent_person"),
            ("Prominent Face", "prominent_face"),
            ("face", "prominent_face"),
        ],
    )
    def test_spellings_of_a_target(self, site, open_source, spelling, target):
        site.has(row(1, True, 1), focus={**FOCUS, "derivative_type_name": spelling})
        assert open_source().training_set("7").target == target

    def test_a_target_that_is_none(self, site, open_source):
        site.has(row(1, True, 1), focus={**FOCUS, "derivative_type_name": "left_hand"})
        told = refusal(open_source())
        assert 'derivative_type_name: is "left_hand"' in told
        assert "prominent_face" in told

    @pytest.mark.parametrize("focus", [None, {}, {"derivative_type_name": None, "embedding_type_name": None}])
    def test_what_the_focus_does_not_tell_is_asked_for(self, site, open_source, focus):
        site.has(row(1, True, 1), focus=focus, embedding=DINO)
        assert "give --embedding" in refusal(open_source())
        assert "give --target" in refusal(open_source(DINO))
        found = open_source(DINO, target="whole_image").training_set("7")
        assert (found.target, found.embeddings) == ("whole_image", (Embedding(DINO),))

    def test_several_embeddings_are_joined_by_photo(self, site, open_source):
        site.has(row(1, True, 1, 2), row(2, False, 3, 4), row(3, False, 5, 6))
        site.rows(row("4", True, 9), row("2", 0, 8), row("1", True, 7), embedding=DINO)
        site.rows(row(2, False, 3, 4), row(1, True, 1, 2), row(3, True, 5, 6))
        found = open_source(CLIP, DINO).training_set("7")
        assert [each.photo_id for each in found.rows] == ["2", "1"]
        assert [[vector.tolist() for vector in each.vectors] for each in found.rows] == [
            [[3, 4], [8]],
            [[1, 2], [7]],
        ]
        assert found.notes == (
            f"Left out for want of {CLIP}: 1 row.",
            f"Left out for want of {DINO}: 1 row.",
        )

    @pytest.mark.parametrize(
        ("operation", "why"),
        [("embed_dino_v2", "another library than transformers"), ("embed_dino_v3_patch", "register tokens")],
    )
    def test_what_image_embed_makes_otherwise_is_refused(self, site, open_source, operation, why):
        site.has(row(1, True, 1), focus={**FOCUS, "embedding_type_name": operation}, embedding=operation)
        told = refusal(open_source())
        assert f"{operation} of image_embed makes other vectors than here" in told
        assert why in told
        assert f"--space {operation}=SPACE" in told
        # The other one is not what the user spoke of.
        site.rows(row(1, True, 1))
        assert why in refusal(open_source(CLIP, operation, stated={"spaces": {CLIP: "clip"}}))
        found = open_source(stated={"spaces": {operation: "ours/1"}}).training_set("7")
        assert found.spaces == ("ours/1",)

    def test_what_the_user_says_of_the_vectors(self, site, open_source):
        site.has(row(1, True, 1))
        stated = {"spaces": {CLIP: "clip", DINO: "dino"}, "face_context": "whole_image"}
        found = open_source(stated=stated).training_set("7")
        assert (found.spaces, found.face_context) == (("clip",), "whole_image")
        assert open_source().training_set("7").face_context == "prominent_person"
        # Where a whole image is looked for faces is no part of what it is.
        found = open_source(target="whole_image", stated=stated).training_set("7")
        assert found.face_context == "prominent_person"

    def test_what_cannot_be_joined_is_refused(self, site, open_source):
        site.has(row(1, True, 1))
        site.rows(row(1, True, 1), row(1, True, 2), embedding=DINO)
        told = refusal(open_source(CLIP, DINO))
        assert f'{DINO}: rows[1]: photo_id: "1" is also that of' in told
        site.rows(row(1, False, 1), embedding=DINO)
        assert "label: is false, and true in" in refusal(open_source(CLIP, DINO))

    def test_rows_that_contradict_each_other_are_left_out(self, site, open_source):
        site.has(row(1, True, 1), row(2, True, 2), row(1, False, 1))
        found = open_source().training_set("7")
        assert [each.photo_id for each in found.rows] == ["2"]
        place = f"collection 7 ('boxy'), {CLIP}: rows"
        (told,) = found.notes
        assert told.endswith(f"several labels: 2 rows, such as {place}[0] and {place}[2].")

    def test_rows_without_a_vector_are_counted(self, site, open_source):
        site.has(
            row(1, True, 1), {"photo_id": 2, "label": False, "embedding": None}, {"photo_id": 3, "label": 1}
        )
        found = open_source().training_set("7")
        assert len(found.rows) == 1
        assert found.notes == (f"Left out for want of {CLIP}: 2 rows.",)
        site.has({"photo_id": 3, "label": 1})
        assert "has no rows. Left out" in refusal(open_source())
        site.has()
        assert "'7' has no rows." in refusal(open_source())

    @pytest.mark.parametrize(
        ("broken", "told"),
        [
            (
                row(None, True, 1),
                "rows[1].photo_id: must be an integer or a string that is not empty, got null",
            ),
            (row("", True, 1), 'photo_id: must be an integer or a string that is not empty, got ""'),
            (row(True, True, 1), "photo_id: must be an integer or a string"),
            (row(2, None, 1), "rows[1].label: must be the name of a class, true, false, 1 or 0, got null"),
            (row(2, 0.5, 1), "rows[1].label: must be"),
            ({"photo_id": 2, "embedding": [1]}, "rows[1].label: is required"),
            (row(2, True), "rows[1].embedding: List should have at least 1 item"),
            (
                {**row(2, True), "embedding": [1, "x"]},
                'rows[1].embedding[1]: Input should be a valid number, got "x"',
            ),
            (
                {**row(2, True), "embedding": [True]},
                "rows[1].embedding[0]: Input should be a valid number, got true",
            ),
            ({**row(2, True), "embedding": "[1]"}, "rows[1].embedding: Input should be a valid array"),
            (row(2, True, float("nan")), "rows[1].embedding[0]: Input should be a finite number"),
            (row(2, True, 1e300), "rows[1].embedding[0]: is beyond float32, got 1e+300"),
            (row(2, True, 1, 2), "rows[1]: embed_clip_vit_b_32: has 2 numbers, and collection 7 ('boxy')"),
            (
                "row",
                'rows[1]: Input should be an object, got "row"',
            ),
        ],
    )
    def test_a_wrong_row_is_named(self, site, open_source, broken, told):
        site.has(row(1, True, 1), broken)
        message = refusal(open_source())
        assert told in message
        assert "collection 7 ('boxy')" in message
        assert len(message) < 400

    @pytest.mark.parametrize(
        ("listing", "told"),
        [
            ({}, "collections: Input should be a valid array"),
            ([{"name": "x"}], "collections[0].id: is required"),
            ([{"id": 1.5}], "collections[0].id: must be an integer or a string"),
            ([{"id": 7, "collection_focus": "face"}], "collections[0].collection_focus: Input should be"),
            ([{"id": 7}, {"id": "7"}], 'two collections have the id "7"'),
            (
                [{"id": 7, "collection_focus": {"embedding_type_name": "../x"}}],
                "embedding_type_name: String should match",
            ),
            ([], 'no collection is called "7". There are: none.'),
            ([{"id": 8, "name": "x"}, {"id": 9}], 'no collection is called "7". There are: 8 (x), 9.'),
        ],
    )
    def test_a_wrong_listing_is_told(self, site, open_source, listing, told):
        site.answers["/collections.json"] = as_json(listing)
        assert told in refusal(open_source())

    def test_two_collections_of_one_name_are_not_confused(self, site, open_source):
        site.answers["/collections.json"] = as_json([{"id": 1, "name": "x"}, {"id": 2, "name": "x"}])
        assert "several collections are called" in refusal(open_source(), "x")

    @pytest.mark.parametrize(
        "page",
        [
            "<html><body>{}</body></html>",
            "<!DOCTYPE html><html><head><title>[1]</title><style>a {{ }}</style></head><pre>{}</pre></html>",
            "<html><body><h1>Rows [7]</h1><code>{}</code><p>end]</p></body></html>",
            "<p>Here it is: {} <a href='/'>home</a>",
            "<html><script>var x = [1];</script><body><div>\n  {}\n</div></body></html>",
            "<pre>{}",
        ],
    )
    def test_json_in_a_page(self, site, open_source, page):
        text = "a < b & \"c\" 'd'"
        rows = [row(text, True, 1), row("ü", False, 2)]
        site.has()
        path = f"/collections/7/training_data.json?embedding_type={CLIP}"
        site.answers[path] = as_page(page.format(html.escape(json.dumps(rows))))
        found = open_source().training_set("7")
        assert [each.photo_id for each in found.rows] == [text, "ü"]

    def test_json_in_a_script_is_taken_as_it_stands(self):
        page = '<html><script>[0]</script><script type="application/json">["&amp;"]</script></html>'
        assert json_in(page)[0] == '["&amp;"]'
        comparing = '<script type="application/json">["a<b", "<c"]</script>'
        assert json_in(comparing)[0] == '["a<b", "<c"]'
        assert json_in("<!DOCTYPE html><!-- x --><p>1 < 2 [3]</p>") == ["[3]"]
        assert json_in("<pre><span>[</span>1<pre>,2</pre>]</pre>")[0] == "[1,2]"

    @pytest.mark.parametrize("bracket", ["<", "<a ", "</a ", "<!--", "<?", "<![CDATA[", "<!-- >", "<a b='"])
    def test_what_is_never_closed_is_read_at_once(self, bracket):
        # The parser alone takes minutes for some of these.
        assert json_in(f"<pre>[1]</pre>{bracket * 100_000}")[0] == "[1]"

    @pytest.mark.parametrize(
        "text",
        ["", "<html><body>Please log in</body></html>", "Internal error", "[1, 2", "[" * 100_000, "<" * 9999],
    )
    def test_what_is_no_json_is_shown(self, site, open_source, text):
        site.answers["/collections.json"] = as_page(text)
        told = refusal(open_source())
        assert "answers neither JSON nor a page with JSON" in told
        assert len(told) < 300

    def test_what_is_no_text_is_told(self, site, open_source):
        site.answers["/collections.json"] = (200, {}, b"\xff\xfe\x00[")
        assert "what is no text" in refusal(open_source())
        site.answers["/collections.json"] = (200, {"Content-Type": "text/html; charset=klingon"}, b"[]")
        assert "in an unknown encoding" in refusal(open_source())
        site.answers["/collections.json"] = (200, {"Content-Encoding": "gzip"}, b"no gzip")
        assert "/collections.json: " in refusal(open_source())

    def test_a_server_that_is_full_is_asked_again(self, site, open_source, waits):
        site.has(row(1, True, 1))
        fine = site.answers["/collections.json"]
        date = email.utils.format_datetime(email.utils.localtime())
        hindered = iter(
            [
                (429, {"Retry-After": "3"}, b""),
                (503, {"Retry-After": date}, b""),
                (500, {"Retry-After": "soon"}, b""),
                (502, {"Retry-After": "9999999"}, b""),
            ]
        )
        site.answers["/collections.json"] = lambda: next(hindered, fine)
        assert len(open_source().training_set("7").rows) == 1
        assert waits == [3, 1, 2, 60]

    def test_in_the_end_it_gives_up(self, site, open_source, waits):
        site.answers["/collections.json"] = (503, {}, b"")
        told = refusal(open_source())
        assert "answers 503 Service Unavailable, also to 5 attempts" in told
        assert waits == list(download.WAITS)
        site.answers["/collections.json"] = (403, {}, b"")
        waits.clear()
        assert "answers 403 Forbidden" in refusal(open_source())
        assert waits == []

    def test_a_server_that_says_nothing(self, site, open_source, waits):
        answered = threading.Event()

        def slow() -> Answer:
            answered.wait(20)
            return as_json([])

        site.answers["/collections.json"] = slow
        try:
            assert "timed out" in refusal(open_source(silence=0.05))
        finally:
            answered.set()
        assert len(waits) == len(download.WAITS)

    def test_a_server_that_is_not_there(self, site, open_source, waits):
        gone = site.url
        site.close()
        assert f"{gone}/collections.json: " in refusal(open_source(url=gone))
        assert len(waits) == len(download.WAITS)

    def test_a_connection_that_breaks_is_made_again(self, site, open_source, waits):
        site.has(row(1, True, 1))
        fine = site.answers["/collections.json"]
        broken = iter([(200, {"Content-Length": "1000"}, b"[")])
        site.answers["/collections.json"] = lambda: next(broken, fine)
        # The rest of the answer never comes.
        assert len(open_source(silence=0.2).training_set("7").rows) == 1
        assert len(waits) == 1

    def test_a_huge_answer_is_cut_off(self, site, open_source):
        site.answers["/collections.json"] = (200, {}, b"[" + b" " * 2_000_000 + b"]")
        assert "answers over 1,000,000 bytes" in refusal(open_source(max_bytes=1_000_000))
        bomb = gzip.compress(b"[" + b" " * 50_000_000)
        site.answers["/collections.json"] = (200, {"Content-Encoding": "gzip"}, bomb)
        assert "answers over 1,000,000 bytes" in refusal(open_source(max_bytes=1_000_000))

    def test_redirects_are_followed(self, site, open_source):
        site.has(row(1, True, 1))
        site.answers["/new/collections.json"] = site.answers["/collections.json"]
        site.answers["/collections.json"] = (302, {"Location": "/new/collections.json"}, b"x" * 2_000_000)
        assert len(open_source(max_bytes=1_000_000).training_set("7").rows) == 1

    def test_redirects_end(self, site, open_source):
        site.answers["/collections.json"] = (301, {"Location": "/collections.json"}, b"")
        assert "more than 5 redirects" in refusal(open_source())
        assert len(site.asked) == 6
        for location in ("file:///etc/passwd", "ftp://x/", "http://[", "http://x:99999999/"):
            site.answers["/collections.json"] = (302, {"Location": location}, b"")
            assert "/collections.json: " in refusal(open_source())

    def test_secrets_in_the_url_are_used_and_not_told(self, site, open_source):
        secret = site.url.replace("http://", "http://me:hush@") + "/collections.json?key=quiet"
        told = refusal(open_source(url=secret))
        assert "answers 404 Not Found" in told
        assert "hush" not in told
        assert "quiet" not in told
        assert site.asked == ["/collections.json?key=quiet"]
        assert site.headers[0]["Authorization"].startswith("Basic ")

    def test_a_path_before_the_collections(self, site, open_source):
        site.has(row(1, True, 1), id_="a/b c")
        for path in list(site.answers):
            site.answers["/api/v1" + path.replace("/a/b c/", "/a%2Fb%20c/")] = site.answers.pop(path)
        assert len(open_source(url=site.url + "/api/v1/").training_set("a/b c").rows) == 1

    @pytest.mark.parametrize(
        "url", ["", "ftp://x", "http://", "http://[", "http://x:0", "//x", "http://a b\x00"]
    )
    def test_what_is_no_address(self, open_source, url):
        with pytest.raises(SourceError):
            HttpSource(url)


SETTINGS = {"target": "face", "embeddings": [CLIP], "spaces": ["clip-space"]}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., JsonlSource]:
    def write(*lines: object, embeddings: Any = (), target: str | None = None, **stated: Any) -> JsonlSource:
        file = tmp_path / "rows.jsonl"
        texts = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
        file.write_bytes(b"\n".join(texts))
        asked = [each if isinstance(each, Embedding) else Embedding(each) for each in embeddings]
        return JsonlSource(file, asked, target, **stated)

    return write


class TestJsonl:
    def test_settings_and_rows(self, write):
        source = write(
            SETTINGS,
            {**row("a", True, 1, 2), "phash": "00ff00ff00ff00ff", "metadata": {"camera": "x", "year": 2024}},
            b"  ",
            {**row(2, "no", 3, 4), "space": "clip-space", "slices": {"night": True, "place": None}},
            {**row(3, "no", 3, 4), "measures": {"brightness": 120, "size": 640.5}},
            {**row(4, "no", 3, 4), "measures": {"size": None, "brightness": 0}},
        )
        assert source.collections() == ["rows"]
        found = source.training_set("rows")
        assert (found.target, found.embeddings, found.spaces) == (
            "prominent_face",
            (Embedding(CLIP),),
            ("clip-space",),
        )
        assert [each.label for each in found.rows] == ["positive", *["negative"] * 3]
        assert [each.phash for each in found.rows] == [0x00FF00FF00FF00FF, None, None, None]
        assert [each.slices for each in found.rows] == [
            {"camera": "x", "year": "2024"},
            {"night": "true"},
            {},
            {},
        ]
        assert [each.measures for each in found.rows] == [
            {},
            {},
            {"brightness": 120, "size": 640.5},
            {"brightness": 0},
        ]

    def test_several_embeddings_and_collections(self, write):
        embeddings = [{"operation": "embed_clip", "params": {"model": "ViT-B-16"}}, DINO]
        both = {"embed_clip": [1, 2], DINO: [3]}
        source = write(
            b"\xef\xbb\xbf" + json.dumps({"embeddings": embeddings}).encode(),
            {"photo_id": 1, "label": "cat", "embeddings": both, "collection": "pets"},
            {"photo_id": 5, "label": "dog", "embeddings": both, "collection": "pets", "spaces": {DINO: "d"}},
            {"photo_id": 2, "label": "dog", "embeddings": {DINO: [3]}, "collection": "pets"},
            {"photo_id": 3, "label": 1, "embeddings": {**both, DINO: None}, "collection": 15},
            {"photo_id": 4, "label": 0, "embeddings": both, "collection": 15},
        )
        assert source.collections() == ["pets", "15"]
        pets, numbered = source.training_set("pets"), source.training_set("15")
        assert pets.embeddings == (Embedding("embed_clip", {"model": "ViT-B-16"}), Embedding(DINO))
        assert (pets.labels, pets.positive, pets.target) == (("cat", "dog"), None, "whole_image")
        assert [[vector.tolist() for vector in each.vectors] for each in pets.rows] == [[[1, 2], [3]]] * 2
        assert pets.spaces == (None, "d")
        assert pets.notes == ("Left out for want of embed_clip: 1 row.",)
        assert (len(numbered.rows), numbered.positive) == (1, "positive")

    def test_rows_that_contradict_each_other_are_left_out(self, write):
        source = write(
            SETTINGS,
            row("a", True, 1, 2),
            row("b", True, 3, 4),
            row("a", "no", 1, 2),
            row("a", 1, 1, 2),
            # Another region of the photo, and another photo.
            row("a", False, 1, 3),
            row("c", False, 3, 4),
            # The same twice is no contradiction.
            row("b", "yes", 3, 4),
        )
        found = source.training_set("rows")
        assert [(each.photo_id, each.label) for each in found.rows] == [
            ("b", "positive"),
            ("a", "negative"),
            ("c", "negative"),
            ("b", "positive"),
        ]
        assert found.notes == (
            "Left out, of one photo with the same vectors and several labels: 3 rows, such as rows.jsonl "
            "line 2 and rows.jsonl line 4.",
        )

    def test_where_all_rows_contradict_each_other_there_is_none(self, write):
        told = refusal(write(SETTINGS, row(1, "cat", 1), row(1, "dog", 1)), "rows")
        assert "has no rows. Left out, of one photo with the same vectors and several labels: 2 rows" in told

    def test_without_settings(self, write):
        named = {"photo_id": 1, "label": True, "embeddings": {DINO: [1]}}
        assert write(named).training_set("rows").embeddings == (Embedding(DINO),)
        found = write(row(1, True, 1), embeddings=[CLIP], target="prominent_person").training_set("rows")
        assert (found.target, found.embeddings) == ("prominent_person", (Embedding(CLIP),))
        assert "line 1: nothing tells which operation" in refusal(write(row(1, True, 1)), "rows")

    @pytest.mark.parametrize(
        ("line", "told"),
        [
            (b"{", "line 2: content: Invalid JSON"),
            (b"[1]", "line 2: content: Input should be an object"),
            (b"\xff\xfe{}", "line 2: content: Invalid JSON"),
            (b"[" * 100_000, "line 2: content: Invalid JSON"),
            ({"label": True, "embedding": [1, 2]}, "photo_id: is required"),
            ({**row(1, True, 1, 2), "labl": 1}, "labl: is not a known field; did you mean 'label'?"),
            (row(1, {}, 1, 2), "label: must be the name of a class, true, false, 1 or 0, got {}"),
            (row(1, True, 1, "2"), 'embedding[1]: Input should be a valid number, got "2"'),
            (
                b'{"photo_id": 1, "label": 1, "embedding": [1e999, 2]}',
                "embedding[0]: Input should be a finite number",
            ),
            (
                b'{"photo_id": 1, "label": 1, "embedding": [NaN, 2]}',
                "embedding[0]: Input should be a finite number",
            ),
            (row(1, True, 1e39, 2), "embedding[0]: is beyond float32"),
            (row(1, True, 1), "has 1 number"),
            (
                {**row(1, True, 1, 2), "space": "other"},
                'is of the space "other", and its settings of "clip-space"',
            ),
            ({**row(1, True, 1, 2), "phash": "xyz"}, "phash: must be 16 hexadecimal digits"),
            ({**row(1, True, 1, 2), "phash": "g" * 16}, "phash: must be hexadecimal digits"),
            ({**row(1, True, 1, 2), "metadata": {"a": []}}, "metadata: 'a' must be a string"),
            ({**row(1, True, 1, 2), "measures": {"brightness": 256}}, "measures.brightness: Input should be"),
            ({**row(1, True, 1, 2), "measures": {"size": 0}}, "measures.size: Input should be greater"),
            ({**row(1, True, 1, 2), "measures": {"size": "1"}}, "measures.size: Input should be a valid"),
            ({**row(1, True, 1, 2), "measures": {"age": 1}}, "measures.age: is not a known field"),
            ({**row(1, True, 1, 2), "measures": [1]}, "measures: Input should be an object"),
            ({**row(1, True, 1, 2), "collection": {}}, "collection: must be an integer or a string"),
            ({**row(1, True, 1, 2), "embeddings": {}}, "has both embedding and embeddings"),
            (
                {"photo_id": 1, "label": 1, "embeddings": {DINO: [1]}},
                f'"{DINO}" is none of the embeddings here',
            ),
            ({**row(1, True, 1, 2), "spaces": {"x": "y"}}, 'spaces: "x" is none of'),
            (row("a" * 100_000, None, 1, 2), "label: must be"),
        ],
    )
    def test_a_hostile_line_is_named(self, write, line, told):
        message = refusal(write(SETTINGS, line, row(9, True, 1, 2)), "rows")
        if "has 1 number" in told:
            message = refusal(write(SETTINGS, row(9, True, 1, 2), line), "rows")
            assert "line 3: embed_clip_vit_b_32: has 1 numbers, and rows.jsonl line 2 has 2" in message
        assert told.replace("has 1 number", "has 1") in message
        assert message.startswith("rows.jsonl line ")
        assert len(message) < 400

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"target": "hand"}, 'target: is "hand", and must be one of'),
            ({"targets": "face"}, "targets: is not a known field; did you mean 'target'?"),
            ({"embeddings": []}, "embeddings: List should have at least 1 item"),
            ({"embeddings": ["Embed!"]}, "embeddings[0]"),
            ({"embeddings": [CLIP, CLIP]}, f"{CLIP} is there twice"),
            ({"target": "face", "face_context": "left"}, "face_context: Input should be 'prominent_person'"),
            *(
                ({"embeddings": [{"operation": CLIP, "params": {name: "x"}}]}, f"{name} is no param of one")
                for name in ("target", "face_context", "on_missing", "crop_format")
            ),
            ({"embeddings": [CLIP], "spaces": ["a", "b"]}, "spaces: are 2, and there are 1 embeddings"),
            ({}, "nothing tells which operation"),
        ],
    )
    def test_wrong_settings(self, write, settings, told):
        assert told in refusal(write(settings, row(1, True, 1)), "rows")

    def test_options_that_contradict_the_settings(self, write):
        told = refusal(write(SETTINGS, row(1, True, 1), target="whole_image"), "rows")
        assert "line 1: target: is prominent_face, and --target whole_image" in told
        assert "--embedding says otherwise" in refusal(
            write(SETTINGS, row(1, True, 1), embeddings=[DINO]), "rows"
        )
        assert write(SETTINGS, row(1, True, 1), embeddings=[CLIP], target="prominent_face").collections()

    @pytest.mark.parametrize(
        "settings",
        [
            {"target": "face"},
            {
                "embeddings": [{"operation": CLIP, "params": {"model": "ViT-B-16"}}, DINO],
                "spaces": ["c", "d"],
            },
        ],
    )
    def test_of_several_embeddings_those_that_are_asked_for(self, write, settings):
        lines = [
            settings,
            {"photo_id": 1, "label": 1, "embeddings": {CLIP: [1, 2], DINO: [3]}, "spaces": {CLIP: "c"}},
            {"photo_id": 2, "label": 0, "embeddings": {CLIP: [1, 2], DINO: [4]}},
            {"photo_id": 3, "label": 0, "embeddings": {CLIP: [1, 2]}},
        ]
        declared = "embeddings" in settings
        found = write(*lines, embeddings=[DINO]).training_set("rows")
        assert [[vector.tolist() for vector in each.vectors] for each in found.rows] == [[[3]], [[4]]]
        assert (found.embeddings, found.spaces) == ((Embedding(DINO),), ("d" if declared else None,))
        assert found.notes == (
            f"Left aside, as --embedding names others: {CLIP}.",
            f"Left out for want of {DINO}: 1 row.",
        )
        # In the order in which they are asked for, with the params that the file tells.
        params = {"model": "ViT-B-16"} if declared else {}
        found = write(*lines, embeddings=[DINO, CLIP]).training_set("rows")
        assert found.embeddings == (Embedding(DINO), Embedding(CLIP, params))
        assert found.spaces == ("d" if declared else None, "c")
        assert [vector.tolist() for vector in found.rows[0].vectors] == [[3], [1, 2]]
        assert found.notes == (f"Left out for want of {DINO}: 1 row.",)

    def test_what_is_asked_for_and_not_there(self, write):
        both = {"photo_id": 1, "label": True, "embeddings": {CLIP: [1], DINO: [1]}}
        told = refusal(write(both, embeddings=["embed_clip"]), "rows")
        assert f"names others: {CLIP}, {DINO}. Left out for want of embed_clip: 1 row." in told
        two = {"embeddings": [CLIP, DINO]}
        told = refusal(write(two, both, embeddings=["embed_clip"]), "rows")
        assert f"are {CLIP}, {DINO}, and --embedding says otherwise: embed_clip." in told
        told = refusal(write(two, both, embeddings=[Embedding(CLIP, {"model": "x"})]), "rows")
        assert f'says otherwise: {CLIP} with the params {{"model":"x"}}.' in told
        # Of which of the two a single vector is cannot be told.
        told = refusal(write(two, row(1, True, 1), embeddings=[CLIP]), "rows")
        assert "embedding: is one vector, and there are 2" in told

    def test_what_the_user_says_of_the_vectors(self, write):
        found = write({"target": "face"}, row(1, True, 1), embeddings=[CLIP], spaces={CLIP: "c"})
        assert found.training_set("rows").spaces == ("c",)
        assert "and --space of" in refusal(write(SETTINGS, row(1, True, 1), spaces={CLIP: "c"}), "rows")
        spaced = {**row(1, True, 1), "space": "other"}
        told = refusal(write(spaced, embeddings=[CLIP], spaces={CLIP: "c"}), "rows")
        assert 'is of the space "other", and --space of "c"' in told

    def test_where_faces_are_looked_for(self, write):
        told = {**SETTINGS, "face_context": "whole_image"}
        assert write(told, row(1, True, 1)).training_set("rows").face_context == "whole_image"
        found = write(SETTINGS, row(1, True, 1), face_context="whole_image").training_set("rows")
        assert found.face_context == "whole_image"
        contradicting = write(told, row(1, True, 1), face_context="prominent_person")
        assert "face_context: is whole_image, and --face-context prominent_person" in refusal(
            contradicting, "rows"
        )

    def test_one_vector_for_two_embeddings(self, write):
        two = {"embeddings": [CLIP, DINO]}
        assert "embedding: is one vector, and there are 2" in refusal(write(two, row(1, True, 1)), "rows")
        spaced = {"photo_id": 1, "label": 1, "embeddings": {CLIP: [1], DINO: [1]}, "space": "x"}
        assert "space: is one, and there are 2" in refusal(write(two, spaced), "rows")

    def test_files_without_rows(self, write, tmp_path):
        assert "has no rows" in refusal(write(), "rows")
        assert "has no rows" in refusal(write(SETTINGS), "rows")
        lacking = {"photo_id": 1, "label": True}
        assert "Left out for want of" in refusal(write(SETTINGS, lacking), "rows")
        assert "No such file" in refusal(JsonlSource(tmp_path / "none"), "rows")
        assert "Is a directory" in refusal(JsonlSource(tmp_path), "rows")
        source = write(SETTINGS, row(1, True, 1))
        assert 'no collection is called "x". There are: rows.' in refusal(source, "x")
        long = row("x" * MAX_LINE_BYTES, True, 1)
        assert f"line 2: is over {MAX_LINE_BYTES:,} bytes" in refusal(write(SETTINGS, long), "rows")


def embedded(sha256: str, *numbers: float) -> Embedded:
    return Embedded(sha256, (np.array(numbers, np.float32),), 1, {"format": "PNG"}, {"size": 64.0})


class TestFolder:
    def source(
        self, images: list[str], same: Mapping[str, str] | None = None, **stated: Any
    ) -> tuple[FolderSource, list[str]]:
        told: list[str] = []

        def embed(name: str, folder: Path, paths: Any) -> EmbeddedFiles:
            contents = {path: (same or {}).get(path, path) for path in paths}
            done = EmbeddedFiles(
                ("space",), {path: embedded(sha, zlib.crc32(sha.encode())) for path, sha in contents.items()}
            )
            done.failed = 2
            return done

        def tell(path: str, why: str) -> None:
            told.append(f"{path}: {why}")

        embeddings = (Embedding("embed_hog_hsv"),)
        folder = Path("photos")
        source = FolderSource(folder, images, embeddings, "whole_image", embed=embed, tell=tell, **stated)
        return source, told

    @pytest.mark.parametrize(
        ("images", "collections"),
        [
            (["positive/a.png", "negative/b.png"], {"photos": 2}),
            (["Positive/2024/a.png", "negative/2024/b.png"], {"photos": 2}),
            (["cat/a.png", "dog/b.png", "dog/more/c.png", "x.png"], {"photos": 3}),
            (["pets/cat/a.png", "pets/dog/b.png", "15/negative/c.png"], {"15": 1, "pets": 2}),
            (["1/positive/a.png", "1/negative/a.png"], {"1": 2}),
        ],
    )
    def test_what_is_a_collection(self, images, collections):
        found = arranged(Path("photos"), images)
        assert {name: len(each.images) for name, each in found.items()} == collections

    @pytest.mark.parametrize("images", [[], ["a.png"]])
    def test_no_classes(self, images):
        with pytest.raises(SourceError, match="photos/positive"):
            arranged(Path("photos"), images)

    def test_what_cannot_be_told(self):
        with pytest.raises(SourceError, match='in "cats", as in a class, and only deeper in "pets"'):
            arranged(Path("photos"), ["cats/a.png", "pets/dog/b.png"])

    def test_rows(self):
        source, told = self.source(["pets/cat/a.png", "pets/dog/b.png", "pets/dog/2024/c.png"])
        found = source.training_set("pets")
        assert [(each.photo_id, each.label) for each in found.rows] == [
            ("cat/a.png", "cat"),
            ("dog/2024/c.png", "dog"),
            ("dog/b.png", "dog"),
        ]
        assert found.rows[1].slices == {"format": "PNG", "folder": "2024"}
        assert found.spaces == ("space",)
        assert found.rows[0].phash == 1
        assert found.rows[0].measures == {"size": 64.0}
        assert found.notes == ("Left out, not to be read or embedded: 2 files.",)
        assert told == []
        with pytest.raises(SourceError, match="no collection is called"):
            source.training_set("other")

    def test_the_same_file_under_several_names(self):
        images = [f"{class_}/{name}.png" for class_ in ("negative", "positive") for name in "abcd"]
        same = {
            "positive/b.png": "positive/a.png",
            "positive/c.png": "negative/c.png",
            "positive/d.png": "negative/c.png",
            "negative/d.png": "negative/c.png",
        }
        source, told = self.source(images, same)
        found = source.training_set("photos")
        assert [each.photo_id for each in found.rows] == [
            "negative/a.png",
            "negative/b.png",
            "positive/a.png",
        ]
        assert "Left out, copies of files of their class: 1 file." in found.notes
        assert "Left out, the same file in two classes: 4 files." in found.notes
        assert told == [
            "positive/c.png: is the same file as negative/c.png; which class is it?",
            "positive/d.png: is the same file as negative/c.png; which class is it?",
        ]

    @pytest.mark.parametrize("pattern", [r"photo\d+", r"(photo\d+)_crop", r"/?(?P<photo>photo\d+)_"])
    def test_crops_of_one_photo_are_of_one_photo(self, pattern):
        images = [
            f"{class_}/more/photo{number}_crop{crop}.png"
            for class_ in ("positive", "negative")
            for number in "12"
            for crop in "ab"
        ]
        source, _ = self.source([*images, "positive/alone.png"], group_by=re.compile(pattern))
        found = source.training_set("photos")
        # A photo may have crops of both classes.
        assert sorted(each.photo_id for each in found.rows) == [
            *["photo1"] * 4,
            *["photo2"] * 4,
            "positive/alone.png",
        ]
        assert found.notes[-1] == (
            "Grouped by --group-by: 8 files of 2 photos; 1 file that it does not match, each a photo of its "
            "own."
        )

    @pytest.mark.parametrize("pattern", ["x*", "(x)?", "never"])
    def test_what_names_no_photo_leaves_each_file_one(self, pattern):
        source, _ = self.source(["cat/a.png", "dog/b.png"], group_by=re.compile(pattern))
        found = source.training_set("photos")
        assert [each.photo_id for each in found.rows] == ["cat/a.png", "dog/b.png"]
        assert "0 files of 0 photos; 2 files that it does not match" in found.notes[-1]
