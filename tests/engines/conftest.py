"""A process of its own for the tests of all engines: most of what it costs is what engines import."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor

import pytest


@pytest.fixture(scope="session")
def elsewhere() -> Iterator[Executor]:
    """Calls functions in another process, which begins with the first one."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        yield process
