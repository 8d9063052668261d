"""API keys as the server is told of them, and limits as people write them."""

import hashlib

import pytest

from app.core.access import ApiKey, Limit, made_key, parsed_keys

DIGEST = hashlib.sha256(b"a key").hexdigest()
OTHER = hashlib.sha256(b"another key").hexdigest()


@pytest.mark.parametrize("separator", [",", ", ", " ", "\n", ",\n  "])
def test_keys_are_separated_by_commas_or_white_space(separator):
    text = f" {separator.join([f'app:analyze:{DIGEST}', f'batch.2:index+analyze:{OTHER.upper()}'])}, "
    assert parsed_keys(text) == (
        ApiKey("app", frozenset({"analyze"}), DIGEST),
        ApiKey("batch.2", frozenset({"analyze", "index"}), OTHER),
    )


@pytest.mark.parametrize("text", ["", " ", ",", "\n,"])
def test_no_text_is_no_key(text):
    assert parsed_keys(text) == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a-bare-secret", "of the form name:scopes:sha256"),
        (f"app:{DIGEST}", "of the form name:scopes:sha256"),
        (f"app:analyze:{DIGEST}:600/minute", "of the form name:scopes:sha256"),
        (f"app:read:{DIGEST}", "'app' needs scopes of analyze, index, admin"),
        (f"app::{DIGEST}", "'app' needs scopes of analyze, index, admin"),
        (f"app:analyze+:{DIGEST}", "'app' needs scopes of analyze, index, admin"),
        ("app:analyze:a-bare-secret", "not the key itself"),
        (f"app:analyze:{DIGEST[:-1]}", "its SHA-256 of 64 hex digits"),
        (f":analyze:{DIGEST}", "the name of a key has"),
        (f"{'a' * 65}:analyze:{DIGEST}", "the name of a key has"),
        (f"app:analyze:{DIGEST},app:index:{OTHER}", "two keys are named 'app'"),
        (f"one:analyze:{DIGEST},two:index:{DIGEST}", "'one' and another name stand for the same key"),
    ],
)
def test_what_is_no_key_is_refused_and_never_repeated(text, told):
    with pytest.raises(ValueError, match=told.replace("+", r"\+")) as refused:
        parsed_keys(text)
    assert "a-bare-secret" not in str(refused.value)


def test_a_new_key_is_known_by_its_entry():
    key, entry = made_key("app", ["index", "analyze"])
    assert key.startswith("sightgraph_")
    assert len(key) >= len("sightgraph_") + 256 / 6
    assert parsed_keys(str(entry)) == (entry,)
    assert str(entry) == f"app:analyze+index:{hashlib.sha256(key.encode()).hexdigest()}"
    assert made_key("app", ["analyze"])[0] != key


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("120/minute", Limit(120, 60)),
        (" 10 / second ", Limit(10, 1)),
        ("5000/hour", Limit(5000, 3600)),
        ("1/day", Limit(1, 86_400)),
    ],
)
def test_a_limit_is_read_as_it_is_written(text, limit):
    assert Limit.of(text) == limit


@pytest.mark.parametrize(
    "text", ["", "120", "0/minute", "-1/minute", "1.5/minute", "9/week", "1/minute;2/hour"]
)
def test_what_is_no_limit_is_refused_with_the_form(text):
    with pytest.raises(ValueError, match="such as 120/minute"):
        Limit.of(text)
