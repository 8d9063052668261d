"""What operations and clients see of the heads that serve."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.core.registry import Registry
from app.core.target import TargetParams
from classifiers.card import EmbeddingCard
from classifiers.rows import DEFAULT_FACE_CONTEXT
from classifiers.served import ServedClassifiers
from classifiers.shelf import Shelf
from classifiers.sources import image_embed
from tests.heads import put_head


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "classifiers")


def test_where_faces_are_looked_for_is_the_heads_own(shelf: Shelf, registry: Registry) -> None:
    served = ServedClassifiers(shelf, registry, None)
    put_head(shelf, "near", target="prominent_face")
    put_head(shelf, "anywhere", target="prominent_face", face_context="whole_image")
    assert served.find("near").face_context == "prominent_person"
    assert served.find("anywhere").face_context == "whole_image"
    assert served.facts("anywhere").face_context == "whole_image"
    put_head(shelf, "whole")
    assert served.facts("whole").face_context is None


@pytest.mark.parametrize("name", ["target", "face_context", "on_missing"])
def test_a_card_whose_embeddings_choose_regions_is_none(name: str) -> None:
    with pytest.raises(ValidationError, match="choose a region, which is the head's own"):
        EmbeddingCard(operation="embed_hog_hsv", params={"cells": 3, name: "whole_image"})


def test_a_card_that_does_not_tell_means_what_operations_do() -> None:
    assert TargetParams.model_fields["face_context"].default == DEFAULT_FACE_CONTEXT


def test_what_image_embed_makes_otherwise_are_operations_here(registry: Registry) -> None:
    assert all(registry.find(name).gives_vectors for name in image_embed._OTHERWISE)
    assert image_embed.other_vectors(["embed_clip_vit_b_32", "embed_dino_v3"], {}) is None
