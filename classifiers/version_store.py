"""The versions of heads in a folder: written whole, and held against their cards when they are read."""

import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from classifiers.arrays import Arrays, ArraysDamaged, pack, unpack
from classifiers.card import Card, FileCard
from classifiers.durable import PARTIAL, read_bounded, sync_folder, write_new
from classifiers.head import Head, HeadDamaged, restored
from classifiers.shelf_errors import ShelfError, unreadable, writing
from classifiers.split import Seen
from classifiers.stored import CARD, HEAD, MAX_JSON_BYTES, PHOTOS, REPORT, VERSION, folder_name, sha256

_MAX_HEAD_BYTES = 256 * 2**20
_MAX_PHOTOS_BYTES = 512 * 2**20


class VersionStore:
    """The versions in a folder, for any number of processes.

    A version's folder is written under another name and renamed, and never changes.

    Args:
        folder: where they lie; it is made when the first one is stored.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def home(self, collection: str) -> Path:
        """The folder of a collection."""
        return self.folder / folder_name(collection)

    def path(self, collection: str, version: str) -> Path:
        """The folder of a version.

        Raises:
            ShelfError: none can have this name.
        """
        if not re.fullmatch(VERSION, version):
            raise ShelfError(f"'{version}' is no name of a version.")
        return self.home(collection) / version

    def versions(self, collection: str) -> list[str]:
        """The names of all versions, the oldest first, readable or not."""
        try:
            found = [
                path.name for path in self.home(collection).iterdir() if re.fullmatch(VERSION, path.name)
            ]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(found)

    def check_is_here(self, collection: str, version: str) -> None:
        """Raises ShelfError: there is no such version."""
        if version not in self.versions(collection):
            raise ShelfError(
                f"'{collection}' has no version '{version}'; it has "
                f"{', '.join(self.versions(collection)) or 'none'}."
            )

    def load(self, collection: str, version: str, card_sha256: str | None = None) -> Head:
        """The head of a version; every file is held against its checksum.

        Args:
            collection: the name.
            version: one of `versions`.
            card_sha256: what the card must be, where that is known.

        Raises:
            ShelfError: it is not there, or is not what was written.
        """
        path = self.path(collection, version)
        with _reading(collection, version):
            data = read_bounded(path / CARD, MAX_JSON_BYTES)
            if card_sha256 is not None and sha256(data) != card_sha256:
                raise HeadDamaged(f"{CARD} is not what was promoted")
            card = Card.model_validate_json(data)
            if (card.collection, card.version) != (collection, version):
                raise HeadDamaged(f"{CARD} is of '{card.collection}', version {card.version}")
            return restored(card, unpack(_checked(path, card, HEAD, _MAX_HEAD_BYTES)))

    def seen(self, collection: str, version: str) -> Seen:
        """What a version was trained, calibrated or chosen on.

        Raises:
            ShelfError: as of `load`.
        """
        path = self.path(collection, version)
        card = self.load(collection, version).card
        with _reading(collection, version):
            arrays = unpack(_checked(path, card, PHOTOS, _MAX_PHOTOS_BYTES))
            found = [arrays.get(name) for name in ("digests", "phashes")]
            digests, phashes = found
            if (
                digests is None
                or phashes is None
                or any(a.dtype != np.uint64 or a.ndim != 1 for a in arrays.values())
            ):
                raise HeadDamaged(f"{PHOTOS} holds no digests of photos")
            return Seen(np.sort(digests), np.sort(phashes))

    def store(self, card: Card, arrays: Arrays, seen: Seen, report: str) -> Card:
        """Store a version, which does not serve yet; call it while `training`.

        Args:
            card: of the version, without files.
            arrays: of the head.
            seen: what it was trained, calibrated or chosen on.
            report: an HTML page.

        Returns:
            The card as it was stored, with the checksums of the files.

        Raises:
            ShelfError: it cannot be written; nothing is left of it.
        """
        files = {
            HEAD: pack(arrays),
            PHOTOS: pack({"digests": seen.digests, "phashes": seen.phashes}),
            REPORT: report.encode("utf-8", "replace"),
        }
        checksums = {name: FileCard(size=len(data), sha256=sha256(data)) for name, data in files.items()}
        card = card.model_copy(update={"files": checksums})
        files[CARD] = card.model_dump_json(indent=1).encode()
        home = self.home(card.collection)
        partial = home / f"{PARTIAL}{uuid.uuid4().hex}"
        with writing(f"The version {card.version} of '{card.collection}'"):
            try:
                partial.mkdir(parents=True)
                for name, data in files.items():
                    write_new(partial / name, data)
                sync_folder(partial)
                partial.rename(self.path(card.collection, card.version))
                sync_folder(home)
                sync_folder(self.folder)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
        return card

    def delete(self, collection: str, version: str) -> None:
        """Under another name first: nobody meets a version that is half there."""
        gone = self.home(collection) / f"{PARTIAL}{version}"
        with suppress(OSError):
            self.path(collection, version).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def sweep(self, collection: str) -> None:
        """Delete what interrupted processes left, while nobody else writes."""
        for path in [*self.home(collection).glob(f"{PARTIAL}*"), *self.folder.glob(f"{PARTIAL}*")]:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextmanager
def _reading(collection: str, version: str) -> Iterator[None]:
    """What is wrong with a version, as a message."""
    try:
        yield
    except (OSError, ValidationError, HeadDamaged, ArraysDamaged) as error:
        remedy = "Roll back to another one, or train again."
        raise unreadable(f"Version {version} of '{collection}'", error, remedy) from error


def _checked(path: Path, card: Card, name: str, limit: int) -> bytes:
    """A file as its card tells it."""
    wanted = card.files.get(name)
    if wanted is None:
        raise HeadDamaged(f"{CARD} names no {name}")
    if wanted.size > limit:
        raise HeadDamaged(f"{name} is larger than {limit} bytes")
    data = read_bounded(path / name, wanted.size)
    if sha256(data) != wanted.sha256:
        raise HeadDamaged(f"{name} is not what was written")
    return data
