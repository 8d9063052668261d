"""What a process that serves keeps from its garbage collector, and lets go when a model is unloaded."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from app.runtime import garbage


class Model:
    """Refers to itself, as models do."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(garbage, "_serves", False)
    yield
    gc.freeze()


def test_elsewhere_nothing_is_frozen():
    gc.unfreeze()
    garbage.freeze_loaded()
    garbage.collect_unloaded()
    assert gc.get_freeze_count() == 0


def test_who_serves_looks_at_no_loaded_model_again():
    garbage.serve_from_now_on()
    assert gc.get_freeze_count() > 0
    model = Model()
    assert any(each is model for each in gc.get_objects())
    garbage.freeze_loaded()
    assert not any(each is model for each in gc.get_objects())


@pytest.mark.parametrize("serves", [True, False])
def test_an_unloaded_model_leaves_the_memory(serves):
    gc.unfreeze()
    if serves:
        garbage.serve_from_now_on()
    model = Model()
    garbage.freeze_loaded()
    left = weakref.ref(model)
    del model
    gc.collect()
    assert (left() is not None) is serves
    garbage.collect_unloaded()
    assert left() is None
    assert (gc.get_freeze_count() > 0) is serves
