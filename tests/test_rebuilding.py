"""How far a rebuild of the search structure has come: told in the log, and by a bar on a terminal."""

import io
import logging
import sys

import pytest

from app.rebuilding import RebuildProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def progress(caplog):
    caplog.set_level(logging.INFO, logger="app.rebuilding")
    return RebuildProgress()


def test_the_log_tells_each_tenth(progress, caplog):
    for done in range(0, 1001, 10):
        progress("photos", done, 1000)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 11
    assert lines[0].endswith("photos is rebuilt: 0 of 1000 vectors")
    assert lines[-1].endswith("photos is rebuilt: 1000 of 1000 vectors")


def test_collections_are_told_apart_and_a_second_rebuild_again(progress, caplog):
    for collection in ("a", "b", "a"):
        progress(collection, 1, 2)
        progress(collection, 2, 2)
    assert len(caplog.records) == 6


def test_nothing_to_rebuild_is_done(progress, caplog):
    progress("empty", 0, 0)
    assert len(caplog.records) == 1


def test_a_terminal_shows_a_bar_and_is_left_clean(progress, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    progress("photos", 1, 4)
    progress("others", 1, 2)
    progress("photos", 4, 4)
    progress("others", 2, 2)
    shown = terminal.getvalue()
    assert "rebuilding photos" in shown
    assert "rebuilding others" in shown
    # The cursor is shown again at the end.
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
