"""Artifacts: what they promise of their memory."""

from dataclasses import dataclass

import numpy as np
import pytest

from app.core.artifacts import Vector, size_in_bytes


def test_a_vector_does_not_keep_its_batch():
    batch = np.zeros((16, 8), np.float32)
    vector = Vector(batch[3])
    batch[3] = 1
    assert vector.values.base is None
    assert not vector.values.any()


def test_a_vector_is_read_only():
    with pytest.raises(ValueError, match="read-only"):
        Vector(np.zeros(4, np.float32)).values[0] = 1


@pytest.mark.parametrize("values", [np.zeros(4), np.zeros((2, 2), np.float32), np.zeros(3, np.int64)])
def test_a_vector_is_one_row_of_float32(values):
    with pytest.raises(ValueError, match="float32"):
        Vector(values)


def test_what_a_result_holds_is_counted():
    @dataclass(frozen=True)
    class Two:
        one: Vector
        other: Vector

    vectors = [Vector(np.ones(1000, np.float32)) for _ in range(2)]
    assert size_in_bytes(Two(*vectors)) > 8000
    assert size_in_bytes([Two(*vectors)]) > 8000
