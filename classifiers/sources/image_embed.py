"""Which operations make other vectors here than image_embed makes under their names."""

from collections.abc import Container, Iterable, Mapping

# The README tells clients of image_embed the same.
_OTHERWISE: Mapping[str, str] = {
    "embed_dino_v2": "its model is loaded by another library than transformers, by which it is loaded here",
    "embed_dino_v3_patch": "its mean counts the register tokens, which are left out here",
}


def other_vectors(operations: Iterable[str], stated: Container[str]) -> str | None:
    """Why a head of image_embed's vectors would give wrong numbers here; None where it would not.

    Args:
        operations: that made the vectors.
        stated: those of whose vectors somebody says that they are in a space of this server.
    """
    for operation in operations:
        if operation in _OTHERWISE and operation not in stated:
            return (
                f"{operation} of image_embed makes other vectors than here: {_OTHERWISE[operation]}. A "
                f"classifier of its vectors would give wrong numbers. Train it on images; or, if a server "
                f"like this one made these vectors, say of which space they are, as `model.space` in its "
                f"answers does: --space {operation}=SPACE"
            )
    return None
