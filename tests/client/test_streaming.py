"""Answers that come part by part."""

import asyncio
import os
from contextlib import aclosing
from pathlib import Path

import httpx
import numpy as np
import orjson
import PIL.Image
import pytest

from app.client import AsyncSightgraph, InvalidInput, Refused, ServerFull, Sightgraph, Task, Unreachable
from app.client.streaming import Block, Lines, blocks
from app.client.wire import BLOCK_BYTES
from tests.api.test_disconnect import until
from tests.api.test_streaming import PICTURE, TASKS, holding
from tests.cutting import cutting
from tests.images import encoded, noise
from tests.prepared import Answers
from tests.site import site

NDJSON = {"Content-Type": "application/x-ndjson"}
EMPTY = {"image_url": "a", "results": {}}


def lines(*parts, status=200):
    return httpx.Response(
        status, headers=NDJSON, content=b"".join(orjson.dumps(part) + b"\n" for part in parts)
    )


def done(*places):
    """The answer to a block, each of whose images is done."""
    return answered(len(places), {})


def put_off(*places, of):
    """That to one, some of whose images had no turn."""
    return answered(of, {place: {"detail": "no turn", "status": 503} for place in places})


def answered(count, bodies):
    parts = [{"id": str(place), "index": place, **bodies.get(place, EMPTY)} for place in range(count)]
    return lines(*parts, {"done": count - len(bodies), "failed": len(bodies)})


def listed(answers, images, retries=2):
    return answers.ask_blocking(lambda server: list(server.analyze_batch(images, "crop")), retries)


def listed_on_asyncio(answers, images):
    async def ask(server):
        return [each async for each in server.analyze_batch(images, "crop")]

    return answers.ask(ask)


class TestTaskByTask:
    def test_each_comes_as_soon_as_it_is_there(self):
        with holding() as (_, url, gate), Sightgraph(url) as server:
            parts = server.stream(PICTURE, TASKS)
            first = dict(next(parts) for _ in range(3))
            assert sorted(first) == ["failing", "quick", "unknown"]
            assert first["quick"].data == [0, 0, 16, 12]
            assert first["failing"].error_code == "internal"
            gate.set()
            ((name, late),) = parts
            assert (name, late.ok) == ("late", True)

    def test_each_comes_as_soon_as_it_is_there_on_asyncio(self):
        async def ask(url, gate):
            async with AsyncSightgraph(url) as server:
                names = []
                async for name, _ in server.stream(PICTURE, TASKS):
                    names.append(name)
                    if len(names) == 3:
                        assert "late" not in names
                        gate.set()
                return names

        with holding() as (_, url, gate):
            assert asyncio.run(ask(url, gate))[-1] == "late"

    def test_leaving_early_ends_the_work(self):
        with holding() as (room, url, _), Sightgraph(url) as server:
            for _name, _result in server.stream(PICTURE, TASKS):
                break
            assert until(lambda: room.working == 0)
            # The client is as good as before.
            assert server.analyze(PICTURE, "measure").ok

    def test_leaving_early_ends_the_work_on_asyncio(self):
        async def ask(url):
            async with AsyncSightgraph(url) as server:
                async with aclosing(server.stream(PICTURE, TASKS)) as parts:
                    async for _name, _result in parts:
                        break
                return (await server.analyze(PICTURE, "measure")).ok

        with holding() as (room, url, _):
            assert asyncio.run(ask(url))
            assert until(lambda: room.working == 0)

    def test_who_is_cancelled_ends_the_work(self):
        async def ask(url):
            async with AsyncSightgraph(url) as server:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(server.analyze(PICTURE, "hold"), 0.2)

        with holding() as (room, url, _):
            asyncio.run(ask(url))
            assert until(lambda: room.working == 0)

    def test_what_breaks_off_is_asked_for_again_and_told_once(self, url, ask_at):
        tasks = dict.fromkeys("abcd", "crop")
        with cutting(url, [b'"operation_id"'], after=2) as cut:
            answered = ask_at("stream", noise(32, 32), tasks, url=cut.url, options={})
        assert sorted(name for name, _ in answered) == ["a", "b", "c", "d"]
        assert cut.connections == 2

    def test_what_breaks_off_again_and_again_is_given_up(self, url, ask_at):
        with cutting(url, [b'"operation_id"'] * 9, after=0) as cut:
            with pytest.raises(Unreachable, match=f"No answer from {cut.url}"):
                ask_at("stream", noise(32, 32), "crop", url=cut.url, options={"retries": 2})
        assert cut.connections == 3

    def test_a_refusal(self, ask):
        with pytest.raises(Refused, match="Could not process image") as refused:
            ask("stream", b"no image", "crop")
        assert refused.value.status == 400

    def test_what_is_wrong_is_told_at_the_call(self, url):
        with Sightgraph(url) as server, pytest.raises(InvalidInput, match="tasks: there are none"):
            server.stream(PICTURE, [])

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            (httpx.Response(200, json={"results": {}}), "not as a server of Sightgraph does"),
            (lines({"image_url": "a"}, {"detail": "it broke"}), "it broke"),
            (lines(["a"]), "A part of the answer is not as a server of Sightgraph sends it"),
            (lines({"operation_id": "a", "result": {}}), "A part of the answer is not"),
            (httpx.Response(200, headers=NDJSON, content=b"<html>\n"), "A part of the answer is not"),
            (lines({"image_url": "a"}), "broke off"),
        ],
        ids=["json", "failure", "list", "result", "html", "end"],
    )
    def test_what_no_server_of_ours_sends(self, answer, told):
        with pytest.raises((Refused, Unreachable), match=told):
            Answers(answer).ask_blocking(lambda server: list(server.stream(b"", "crop")))


class TestLines:
    def test_only_a_line_feed_ends_one(self):
        text = orjson.dumps({"a": "\u2028\u2029\x85\x0b\r"})
        assert b"\xe2\x80\xa8" in text
        parts = Lines()
        got = [line for byte in text + b"\n\n" + text + b"\nrest" for line in parts.of(bytes([byte]))]
        assert got == [text, text]

    def test_an_answer_with_breaks_in_its_text(self, ask, tmp_path):
        path = tmp_path / "a\u2028b.png"
        path.write_bytes(PICTURE)
        ((_, result),) = ask("stream", path, "image_properties")
        assert result.ok


class TestBatch:
    TASK = "crop"

    def test_many_images_in_blocks_of_which_one_is_bad(self, url):
        sent = []
        images = [encoded(noise(8, 8, seed=number)) for number in range(300)]
        images[7] = b"no image"
        hooks = {"request": [sent.append]}
        with httpx.Client(base_url=url, event_hooks=hooks, timeout=60) as http:
            answers = {
                each.id: each for each in Sightgraph(client=http).analyze_batch(iter(images), self.TASK)
            }
        assert [request.url.path for request in sent] == ["/analyze_batch/"] * 2
        assert sorted(answers) == list(range(300))
        assert [each.id for each in answers.values() if not each.ok] == [7]
        assert isinstance(answers[7].error, Refused)
        assert answers[7].error.status == 400
        assert "Could not process image" in str(answers[7].error)
        assert len({each.answer.image.sha256 for each in answers.values() if each.ok}) == 299

    def test_images_of_every_kind_by_keys(self, ask, tmp_path):
        (tmp_path / "a.png").write_bytes(PICTURE)
        (tmp_path / "folder").mkdir()
        os.mkfifo(tmp_path / "pipe")
        with site({"a.png": PICTURE}) as elsewhere:
            images = {
                "path": tmp_path / "a.png",
                "bytes": PICTURE,
                "array": noise(16, 12),
                ("a", "key"): f"{elsewhere}/a.png",
                "missing on the web": f"{elsewhere}/b.png",
                "missing": tmp_path / "b.png",
                "folder": tmp_path / "folder",
                "pipe": tmp_path / "pipe",
                "floats": np.zeros((8, 8)),
            }
            got = {each.id: each for each in ask("analyze_batch", images, self.TASK)}
        assert got.keys() == images.keys()
        alike = ("path", "bytes", "array", ("a", "key"))
        assert len({got[name].require()["crop"].crop.tobytes() for name in alike}) == 1
        assert isinstance(got["missing"].error, FileNotFoundError)
        assert isinstance(got["folder"].error, IsADirectoryError)
        assert isinstance(got["pipe"].error, OSError)
        assert isinstance(got["floats"].error, InvalidInput)
        assert "Could not download" in str(got["missing on the web"].error)

    def test_no_images(self, ask):
        assert ask("analyze_batch", [], self.TASK) == []

    def test_tasks_that_no_image_can_be_asked(self, url):
        with Sightgraph(url) as server, pytest.raises(InvalidInput, match="tasks: there are none"):
            server.analyze_batch([PICTURE], [])

    @pytest.mark.parametrize(
        "image", ["a.png", b"", noise(8, 8), noise(8, 8)[..., 0], PIL.Image.new("L", (8, 8)), Path("a.png")]
    )
    def test_one_image_is_no_batch(self, url, image):
        with Sightgraph(url) as server:
            with pytest.raises(InvalidInput, match="images: this is one; give a list"):
                server.analyze_batch(image, self.TASK)
            with pytest.raises(InvalidInput, match="images: this is one; give a list"):
                server.add("c", image)

    def test_a_stack_of_arrays(self, ask):
        got = ask("analyze_batch", np.stack([noise(8, 8), noise(8, 8, seed=1)]), self.TASK)
        assert sorted(each.id for each in got if each.ok) == [0, 1]

    def test_tasks_that_are_refused(self, ask):
        with pytest.raises(Refused, match="duplicate operation_id 'a'"):
            ask("analyze_batch", [PICTURE], [Task("crop", id="a"), Task("crop", id="a")])

    def test_each_comes_as_soon_as_it_is_done(self):
        with holding() as (_, url, gate), Sightgraph(url) as server:
            answers = server.analyze_batch({"late": PICTURE, "bad": b"", "worse": b"a"}, "hold")
            assert {next(answers).id, next(answers).id} == {"bad", "worse"}
            gate.set()
            assert [each.id for each in answers] == ["late"]

    def test_leaving_early_ends_the_work(self):
        with holding() as (room, url, _), Sightgraph(url) as server:
            for each in server.analyze_batch([b"", PICTURE], "hold"):
                assert each.id == 0
                break
            assert until(lambda: room.working == 0)

    def test_only_what_is_left_is_asked_for_again(self, url, ask_at):
        images = [noise(8, 8, seed=number) for number in range(40)]
        with cutting(url, [b'"index"', b'"index"'], after=10) as cut:
            got = ask_at("analyze_batch", images, self.TASK, url=cut.url, options={})
        assert sorted(each.id for each in got) == list(range(40))
        assert all(each.ok for each in got)
        assert cut.connections == 3
        # The second and third request carry fewer images.
        first, second, third = cut.sent
        assert first > second > third

    def test_blocks_are_bounded_in_bytes(self, tmp_path):
        large = tmp_path / "large.jpg"
        with large.open("wb") as file:
            # Not on the disk: a file of zeros without blocks.
            file.truncate(BLOCK_BYTES + 1)
        half = bytes(BLOCK_BYTES // 2)
        made = list(blocks([half, b"a", half, large, b"b", "http://a/"], "crop", None))
        assert [len(each) for each in made if isinstance(each, Block)] == [2, 1, 1, 1, 1]

    def test_a_proxy_that_takes_less_is_sent_less(self):
        """As nginx does, which takes a megabyte unless told otherwise."""
        small = httpx.Response(413, text="<html>413 Request Entity Too Large</html>")

        answers = Answers(small, small, done(0), small, done(0), done(0))
        got = answers.ask_blocking(
            lambda server: list(server.analyze_batch([b"a", b"b", b"c", b"d"], "crop"))
        )
        assert len(got) == 4

    @pytest.mark.parametrize("ask", [listed, listed_on_asyncio])
    def test_a_rate_limit_below_a_block(self, ask):
        """Which never takes the whole, and does not say when to come back."""
        fewer = httpx.Response(429, json={"detail": "send fewer at once"})
        answers = Answers(fewer, fewer, *[done(0)] * 4)
        assert [each.ok for each in ask(answers, [b"a", b"b", b"c", b"d"])] == [True] * 4
        assert answers.images == [4, 2, 1, 1, 1, 1]

    def test_a_rate_limit_that_takes_no_image(self):
        answers = Answers(httpx.Response(429, json={"detail": "send fewer at once"}))
        with pytest.raises(Refused, match="send fewer at once"):
            listed(answers, [b"a", b"b"])
        assert answers.images == [2, 1]

    @pytest.mark.parametrize("ask", [listed, listed_on_asyncio])
    def test_an_image_that_a_full_server_turns_away_is_sent_again(self, ask):
        answers = Answers(put_off(1, of=3), put_off(0, of=1), done(0))
        assert [(each.id, each.ok) for each in ask(answers, [b"a", b"b", b"c"])] == [
            (0, True),
            (2, True),
            (1, True),
        ]
        assert answers.images == [3, 1, 1]

    @pytest.mark.parametrize("ask", [listed, listed_on_asyncio])
    def test_an_image_that_a_full_server_turns_away_again_and_again(self, ask):
        answers = Answers(put_off(1, of=2), put_off(0, of=1))
        first, second = ask(answers, [b"a", b"b"])
        assert (first.id, first.ok, second.id) == (0, True, 1)
        assert isinstance(second.error, ServerFull)
        assert str(second.error) == "no turn"
        assert answers.images == [2, 1, 1]

    def test_the_images_behind_one_that_was_given_up(self):
        answers = Answers(httpx.Response(413), put_off(0, 1, of=2), done(0, 1))
        got = listed(answers, [b"a", b"b", b"c", b"d"], retries=0)
        assert [(each.id, each.ok) for each in got] == [(0, False), (1, False), (2, True), (3, True)]
        assert answers.images == [4, 2, 2]

    @pytest.mark.parametrize("ask", [listed, listed_on_asyncio])
    def test_a_large_file_that_vanishes_before_it_is_sent_fails_alone(self, ask, tmp_path):
        large = tmp_path / "large.tif"
        with large.open("wb") as file:
            file.truncate(BLOCK_BYTES + 1)

        def images():
            yield large
            large.unlink()
            yield b"a"

        answers = Answers(done(0))
        gone, other = ask(answers, images())
        assert isinstance(gone.error, FileNotFoundError)
        assert (gone.id, other.id, other.ok) == (0, 1, True)

    def test_images_that_cannot_be_read_fail_alone(self, tmp_path):
        PIL.Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
        with PIL.Image.open(tmp_path / "a.png") as closed:
            pass
        empty = PIL.Image.new("RGB", (0, 5))
        *bad, block = blocks([closed, empty, "a\0b", "a\ud800", "http://a/\udcff", b"a"], "crop", None)
        assert [(each.id, type(each.error)) for each in bad] == [(place, InvalidInput) for place in range(5)]
        assert len(block) == 1
