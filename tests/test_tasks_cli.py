"""Tasks as `-t` takes them, read by what the operations declare."""

import json
import os

import click
import pytest
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st

from app.cli.tasks import known_types
from app.cli.tasks.given import TasksGiven, as_given, parsed_task
from app.cli.tasks.json_schema import Schema, in_words
from app.cli.tasks.known_types import complete_task, complete_type
from app.cli.tasks.param_values import text_of, value_of
from app.core import catalog
from app.core.registry import Registry


@pytest.fixture(scope="module")
def facts(registry: Registry) -> dict[str, dict]:
    """As much of the catalog as tasks are read by."""
    return {name: {"params": catalog.params_schema(each)} for name, each in registry.public.items()}


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("read_text", {"type": "read_text", "params": {}}),
        ("lines=read_text", {"operation_id": "lines", "type": "read_text", "params": {}}),
        ("read_text:min_confidence=0.8", {"type": "read_text", "params": {"min_confidence": 0.8}}),
        ("read_text:languages=de,fr", {"type": "read_text", "params": {"languages": ["de", "fr"]}}),
        ("read_text:languages=null", {"type": "read_text", "params": {"languages": None}}),
        (
            "detect_bounding_box:target=all_faces",
            {"type": "detect_bounding_box", "params": {"target": "all_faces"}},
        ),
        (
            "crop:target=bbox:10,20,200,300,crop_format=jpeg",
            {"type": "crop", "params": {"target": {"bbox": [10, 20, 200, 300]}, "crop_format": "jpeg"}},
        ),
        ("crop:target=task:my face", {"type": "crop", "params": {"target": {"task": "my face"}}}),
        (
            'crop:target={"bbox": [1, 2, 3, 4]}',
            {"type": "crop", "params": {"target": {"bbox": [1, 2, 3, 4]}}},
        ),
        ('crop:{"target": "all_faces"}', {"type": "crop", "params": {"target": "all_faces"}}),
        (
            "classify_zero_shot:labels=cat, a big dog,multi_label=true",
            {"type": "classify_zero_shot", "params": {"labels": ["cat", "a big dog"], "multi_label": True}},
        ),
        (
            'classify_zero_shot:labels=["salt, pepper", "oil"]',
            {"type": "classify_zero_shot", "params": {"labels": ["salt, pepper", "oil"]}},
        ),
        (
            "answer_question:question=What, if anything, is here?,num_beams=3",
            {
                "type": "answer_question",
                "params": {"question": "What, if anything, is here?", "num_beams": 3},
            },
        ),
        (
            'answer_question:question="Is a,b=c here?"',
            {"type": "answer_question", "params": {"question": "Is a,b=c here?"}},
        ),
        (
            'answer_question:question="Stop" it says, does it?',
            {"type": "answer_question", "params": {"question": '"Stop" it says, does it?'}},
        ),
        (
            'search_similar:collection=x,filter={"a": 1, "b": {"in": [1, 2]}},k=3',
            {
                "type": "search_similar",
                "params": {"collection": "x", "filter": {"a": 1, "b": {"in": [1, 2]}}, "k": 3},
            },
        ),
        # An id or a name: what looks like a number is one.
        ("classify:collection_id=12", {"type": "classify", "params": {"collection_id": 12}}),
        ("classify:collection_id=cats", {"type": "classify", "params": {"collection_id": "cats"}}),
        ("embed_dino_v2:resolution=518", {"type": "embed_dino_v2", "params": {"resolution": 518}}),
        ("compare:a=x:1,b=y", {"type": "compare", "params": {"a": "x:1", "b": "y"}}),
    ],
)
def test_a_task_is_read(text, task, facts):
    assert parsed_task(text, facts) == task


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("read_txt", "no operation is called 'read_txt'. Did you mean 'read_text'?"),
        ("zzzzz", "There are: answer_question, classify, "),
        ("=crop", "names no id before the '='"),
        ("crop:x", "crop: 'x' is not of the form PARAM=VALUE."),
        ("crop:crop_formt=png", "has no param 'crop_formt'. Did you mean 'crop_format'?"),
        ("compare:zzz=1", "has no param 'zzz'. It has: a, b, a_item, b_item."),
        ("crop:target=all_faces,target=all_faces", "crop: target is given twice."),
        ("crop:target=al_faces", "got 'al_faces'; did you mean 'all_faces'?"),
        ("crop:target=bbox:1,2,3", "target must be bbox:N,N,N,N, got 'bbox:1,2,3'."),
        ("crop:target=task:", "target must be task:NAME, got 'task:'."),
        ("read_text:min_confidence=0.3", "min_confidence must be a number from 0.5 to 1, got '0.3'."),
        ("read_text:min_confidence=high", "min_confidence must be a number from 0.5 to 1, got 'high'."),
        ("read_text:min_confidence=nan", "min_confidence must be a number from 0.5 to 1, got 'nan'."),
        ("describe_image:max_length=1000", "must be a whole number from 1 to 512, got '1000'."),
        ("describe_image:max_length=1.5", "must be a whole number from 1 to 512, got '1.5'."),
        ("image_properties:include_gps=yes", "include_gps must be true or false, got 'yes'."),
        ("embed_dino_v2:resolution=500", "resolution must be 224 or 518, got '500'."),
        ("detect_objects:labels=dog,cats", "got 'cats'; did you mean 'cat'?"),
        ("classify_zero_shot:labels=cat", "labels must be a list from 2 to 256 of: a text from 1 to 200"),
        ("classify_zero_shot", "needs labels=..., a list from 2 to 256 of: a text"),
        ("answer_question:question=", "question must be a text from 1 to 500 characters, got ''."),
        ("search_similar:collection=x,filter=[1]", "filter must be a JSON object, got '[1]'."),
        ("search_similar:collection=x,filter={", "filter must be a JSON object, got '{'."),
        ("crop:{", "the params are not valid JSON"),
        (f"answer_question:question={'x' * 501}", f"got '{'x' * 60}...'."),
        (f"classify:collection_id={'[' * 100_000}", "classify: collection_id must be"),
    ],
)
def test_what_does_not_fit_is_told_with_the_rule(text, told, facts):
    with pytest.raises(click.BadParameter) as refused:
        parsed_task(text, facts)
    assert told in refused.value.message


def test_every_example_can_be_written(facts, registry):
    for name, operation in registry.public.items():
        if operation.example_params is not None:
            params = operation.example_params.model_dump(mode="json", exclude_defaults=True)
            assert parsed_task(as_given(name, params), facts) == {"type": name, "params": params}


def test_every_param_is_told_in_words(registry):
    for operation in registry.public.values():
        for name, schema in Schema.root(catalog.params_schema(operation)).properties.items():
            assert in_words(schema), (operation.type, name)


@settings(max_examples=60)
@given_by(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), min_size=2, max_size=5
    )
)
def test_texts_come_back_as_they_were(texts):
    schema = Schema({"type": "array", "items": {"type": "string"}})
    assert value_of(json.dumps(texts), schema) == texts
    for text in texts:
        assert value_of(json.dumps(text), Schema({"type": "string"})) == text


A = {"$ref": "#/$defs/A"}


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (A, "JSON"),
        ({"anyOf": [A, {"type": "integer"}]}, "a whole number"),
        (
            {"type": "array", "items": A},
            "a list of: a list of: a list of: a list of: ...",
        ),
        ({"type": "array", "prefixItems": [A, {"type": "integer"}]}, "...,N,N,N,N"),
    ],
    ids=["alone", "alternative", "list", "pair"],
)
def test_a_schema_that_holds_itself_is_told_so_far(schema, told):
    assert in_words(Schema.root({**A, "$defs": {"A": schema}})) == told


NUMBERS = {"type": "array", "items": {"type": "integer"}}


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (3, {"type": "integer"}),
        (0.5, {"type": "number"}),
        (True, {"type": "boolean"}),
        (None, {"type": "null"}),
        ([1, 2], NUMBERS),
        ({"task": "a"}, {"type": "object", "properties": {"task": {"type": "string"}}, "required": ["task"]}),
        ({"bbox": [1, 2]}, {"type": "object", "properties": {"bbox": NUMBERS}, "required": ["bbox"]}),
        ({"a": {"b": 1}, "c": 2}, {"type": "object"}),
        (["a,b", "c"], {"type": "array", "items": {"type": "string"}}),
    ],
)
def test_a_value_is_written_as_it_is_read(value, schema):
    assert value_of(text_of(value), Schema(schema)) == value


class TestFile:
    def test_its_tasks_come_first(self, tmp_path, facts):
        file = tmp_path / "tasks.json"
        file.write_text('[{"operation_id": "a", "type": "anything", "params": {"x": 1}}]')
        tasks = TasksGiven(["crop"], file).on_wire(facts)
        assert tasks == [
            {"operation_id": "a", "type": "anything", "params": {"x": 1}},
            {"type": "crop", "params": {}},
        ]

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("[", "is not valid JSON"),
            ('{"type": "crop"}', "must hold a list of tasks"),
            ("[1]", "must hold a list of tasks"),
            ('[{"operation_id": "x"}]', "must hold a list of tasks"),
            ('[{"operation_id": [], "type": "crop"}]', "must hold a list of tasks"),
            ("[" * 100_000, "is not valid JSON"),
            ("[]", "Say what to do"),
        ],
    )
    def test_what_holds_no_tasks_is_refused(self, text, told, tmp_path):
        file = tmp_path / "tasks.json"
        file.write_text(text)
        with pytest.raises(click.UsageError) as refused:
            TasksGiven([], file)
        assert told in refused.value.message

    def test_bytes_that_are_no_text_are_refused(self, tmp_path):
        file = tmp_path / "tasks.json"
        file.write_bytes(b"\xff\xfe")
        with pytest.raises(click.UsageError, match="is not valid JSON"):
            TasksGiven([], file)


class TestCompletion:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        return tmp_path / "sightgraph" / "operations.json"

    @staticmethod
    def completed(begun: str) -> list[str]:
        context = click.Context(click.Command("analyze"))
        return [item.value for item in complete_task(context, click.Option(["-t"]), begun)]

    @pytest.mark.parametrize(
        ("begun", "completed"),
        [
            ("read_", ["read_codes", "read_text"]),
            ("lines=read_t", ["lines=read_text"]),
            ("read_text:min", ["read_text:min_confidence="]),
            ("a=crop:crop_format=jpeg,on", ["a=crop:crop_format=jpeg,on_missing="]),
            ("crop:target=all_", ["crop:target=all_persons", "crop:target=all_faces"]),
            ("nothing", []),
            ("nothing:a", []),
            ("crop:nothing=", []),
        ],
    )
    def test_types_params_and_values(self, begun, completed):
        assert self.completed(begun) == completed

    def test_types_alone(self):
        context = click.Context(click.Command("operations"))
        items = complete_type(context, click.Argument(["type"]), "read_c")
        assert [(item.value, item.help) for item in items] == [("read_codes", "Read QR codes and barcodes.")]

    def test_they_are_kept_until_something_changes(self, cache):
        self.completed("x")
        kept = json.loads(cache.read_text())
        kept["operations"] = {"mine": {"summary": "", "params": {}}}
        cache.write_text(json.dumps(kept))
        assert self.completed("") == ["mine"]
        kept["stamp"][0] += 1
        cache.write_text(json.dumps(kept))
        assert "read_text" in self.completed("")

    @pytest.mark.parametrize("text", ["", "[]", '{"stamp": 1}', "{"])
    def test_a_broken_file_is_made_anew(self, text, cache):
        cache.parent.mkdir()
        cache.write_text(text)
        assert "read_text" in self.completed("")
        assert "read_text" in json.loads(cache.read_text())["operations"]

    @pytest.mark.parametrize(
        "operations",
        [
            [],
            {"mine": {}},
            {"mine": {"summary": ""}},
            {"mine": {"summary": "", "params": []}},
            {"mine": {"summary": "", "params": {"a": 1}}},
        ],
    )
    @pytest.mark.parametrize("begun", ["", "mine:a="])
    def test_a_file_of_another_form_is_made_anew(self, operations, begun, cache):
        self.completed("x")
        kept = json.loads(cache.read_text())
        cache.write_text(json.dumps({**kept, "operations": operations}))
        assert self.completed(begun) == self.completed(begun)
        assert json.loads(cache.read_text()) == kept

    @pytest.mark.parametrize("place", ["mine.py", "mine/__init__.py", "mine/deep.py"])
    def test_a_plugin_that_lies_elsewhere_is_looked_at(self, place, tmp_path, monkeypatch):
        file = tmp_path / "elsewhere" / place
        file.parent.mkdir(parents=True)
        (file.parent / "__init__.py").touch()
        file.write_text("raise AssertionError('it is not imported')")
        module = place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        (tmp_path / "elsewhere" / "mine-1.dist-info").mkdir()
        points = tmp_path / "elsewhere" / "mine-1.dist-info" / "entry_points.txt"
        points.write_text(f"[sightgraph.operations]\nmine = {module}\n")
        monkeypatch.syspath_prepend(tmp_path / "elsewhere")
        before = known_types._stamp()
        os.utime(file, (4e9, 4e9))
        assert known_types._stamp() != before

    def test_a_file_that_cannot_be_looked_at_is_no_fault(self, cache, monkeypatch):
        def refused():
            raise PermissionError(13, "Permission denied")

        # Root may look at any file.
        monkeypatch.setattr(known_types, "_stamp", refused)
        assert "read_text" in self.completed("")
        assert not cache.exists()

    def test_no_place_to_keep_them_is_no_fault(self, cache):
        cache.parent.write_text("a file in the way")
        assert "read_text" in self.completed("")
