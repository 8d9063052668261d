"""The shelf: stored versions of heads, and which of them serves.

    <folder>/best_models.json                           what serves, and nothing else decides that
    <folder>/<collection>/history.json                  what served before, is pinned or withdrawn
    <folder>/<collection>/<time>-<digest>/head.npz      the arrays of a version
                                          photos.npz    digests of the photos that it has seen
                                          report.html   of its training
                                          card.json     with the checksums of the files beside it

A version's folder is written under another name and renamed, and never changes. Whatever is interrupted, what
served goes on serving.
"""

import errno
import json
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from filelock import FileLock, Timeout
from pydantic import JsonValue, ValidationError

from classifiers.arrays import Arrays, ArraysDamaged, pack, unpack
from classifiers.card import Card, FileCard
from classifiers.current import CurrentHeads
from classifiers.durable import PARTIAL, read_bounded, replace, sync_folder, write_new
from classifiers.head import Head, HeadDamaged, restored
from classifiers.split import Seen
from classifiers.stored import (
    BEST,
    BESTS,
    CARD,
    HEAD,
    HISTORY,
    PHOTOS,
    REPORT,
    VERSION,
    Best,
    Event,
    History,
    ShelfBusy,
    ShelfError,
    ShelfHindered,
    Stored,
    are_equal,
    folder_name,
    sha256,
    version_name,
)

__all__ = [
    "Best",
    "Shelf",
    "ShelfBusy",
    "ShelfError",
    "ShelfHindered",
    "Stored",
    "folder_name",
    "version_name",
]

_MAX_JSON_BYTES = 16 * 2**20
_MAX_HEAD_BYTES = 256 * 2**20
_MAX_PHOTOS_BYTES = 512 * 2**20
_MAX_EVENTS = 200
_LOCK_SECONDS = 20.0
_TRAINING = ".training.lock"


class Shelf:
    """The versions in a folder, for any number of processes.

    Args:
        folder: where they lie; it is made when the first one is stored.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._current = CurrentHeads(self)

    # What a server reads

    def current(self, collection: str) -> Head | None:
        """The head that serves; None where there is none.

        It costs one look at a file as long as nothing changed. A new best head is loaded when it is there;
        while it cannot be read, the one before goes on serving, and `problem` tells why.
        """
        return self._current.get(collection)

    def problem(self, collection: str) -> str | None:
        """Why what should serve does not, as of the last `current`."""
        return self._current.problem(collection)

    # What people and trainers read

    def bests(self) -> dict[str, Best]:
        """What serves each collection.

        Raises:
            ShelfError: the file cannot be read.
        """
        path = self.folder / BEST
        try:
            return BESTS.validate_json(read_bounded(path, _MAX_JSON_BYTES))
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            remedy = "Put back a copy of it, or delete it and promote a version of each collection."
            raise _unreadable(BEST, error, remedy) from error

    def best(self, collection: str) -> str | None:
        """The version that serves."""
        best = self.bests().get(collection)
        return None if best is None else best.version

    def history(self, collection: str) -> History:
        """Raises ShelfError: the file cannot be read."""
        try:
            data = read_bounded(self._home(collection) / HISTORY, _MAX_JSON_BYTES)
            return History.model_validate_json(data)
        except FileNotFoundError:
            return History()
        except (OSError, ValidationError) as error:
            remedy = (
                f"Put back a copy of {self._home(collection).name}/{HISTORY}, or delete it: pins and "
                "withdrawals are then lost."
            )
            raise _unreadable(f"The history of '{collection}'", error, remedy) from error

    def versions(self, collection: str) -> list[str]:
        """The names of all versions, the oldest first, readable or not."""
        try:
            found = [
                path.name for path in self._home(collection).iterdir() if re.fullmatch(VERSION, path.name)
            ]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(found)

    def stored(self, collection: str) -> list[Stored]:
        """All versions, the oldest first."""
        serves, history = self.best(collection), self.history(collection)
        found = []
        for version in self.versions(collection):
            card, problem = None, None
            try:
                card = self.load(collection, version).card
            except ShelfError as error:
                problem = str(error)
            found.append(
                Stored(
                    version,
                    card,
                    problem,
                    version == serves,
                    version in history.pinned,
                    history.is_withdrawn(version),
                )
            )
        return found

    def load(self, collection: str, version: str, card_sha256: str | None = None) -> Head:
        """The head of a version; every file is held against its checksum.

        Args:
            collection: the name.
            version: one of `versions`.
            card_sha256: what the card must be, where that is known.

        Raises:
            ShelfError: it is not there, or is not what was written.
        """
        path = self._path(collection, version)
        with self._told(collection, version):
            data = read_bounded(path / CARD, _MAX_JSON_BYTES)
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
        path = self._path(collection, version)
        card = self.load(collection, version).card
        with self._told(collection, version):
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

    # What changes the shelf

    @contextmanager
    def training(self, collection: str) -> Iterator[None]:
        """While one trains a collection no other does. Where nothing comes of it, no folder is left.

        Raises:
            ShelfBusy: another one does.
        """
        home = self._home(collection)
        lock = FileLock(home / _TRAINING, thread_local=False)
        # The lock is taken and its folder deleted within the other lock: nobody waits for a file that goes.
        with self._changing(), _told_to_people(f"The folder of '{collection}'"):
            home.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise ShelfBusy(
                    f"Another process trains '{collection}' already. Wait until it is done, or stop it."
                ) from None
        try:
            with self._changing():
                self._sweep(home)
            yield
        finally:
            try:
                with suppress(OSError, ShelfError):
                    if not self.versions(collection):
                        with self._changing():
                            _delete_empty(home)
            finally:
                lock.release()

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
        home = self._home(card.collection)
        partial = home / f"{PARTIAL}{uuid.uuid4().hex}"
        with _told_to_people(f"The version {card.version} of '{card.collection}'"):
            try:
                partial.mkdir(parents=True)
                for name, data in files.items():
                    write_new(partial / name, data)
                sync_folder(partial)
                partial.rename(self._path(card.collection, card.version))
                sync_folder(home)
                sync_folder(self.folder)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
        return card

    def promote(
        self,
        collection: str,
        version: str,
        reason: str = "promoted by hand",
        *,
        instead_of: str | Literal["any"] | None = "any",
        at: datetime | None = None,
    ) -> bool:
        """Put a version in service; it is no longer withdrawn.

        Args:
            collection: the name.
            version: one of `versions`, that can be read.
            reason: for the history.
            instead_of: which version must serve now; where another one does, nothing is done.
            at: the time.

        Returns:
            Whether it serves now.

        Raises:
            ShelfError: it cannot be read or written.
        """
        with self._changing():
            # Both are read before anything is written: what fails here changes nothing.
            serves, history = self.best(collection), self.history(collection)
            if instead_of not in ("any", serves):
                return False
            withdrawn = frozenset(one for one in history.withdrawn if not are_equal(one, version))
            history = history.model_copy(update={"withdrawn": withdrawn})
            self._switch(collection, serves, version, reason, at, history)
        return True

    def rollback(
        self, collection: str, reason: str = "rolled back by hand", *, at: datetime | None = None
    ) -> str:
        """Put in service what served before. What serves now is withdrawn: no run puts it, or an equal one,
        back.

        Returns:
            The version that serves now.

        Raises:
            ShelfError: nothing served before that is still here, or it cannot be read or written.
        """
        with self._changing():
            serves, history = self.best(collection), self.history(collection)
            withdrawn = history.withdrawn | ({serves} if serves else frozenset())
            history = history.model_copy(update={"withdrawn": withdrawn})
            here = {one for one in self.versions(collection) if not history.is_withdrawn(one)}
            before = next((e.version for e in reversed(history.events) if e.version in here), None)
            if serves is None or before is None:
                raise ShelfError(
                    f"No earlier version of '{collection}' is here to go back to. "
                    "Promote one of its versions by name instead."
                )
            self._switch(collection, serves, before, reason, at, history)
        return before

    def pin(self, collection: str, version: str) -> None:
        """Keep a version whatever better ones come."""
        with self._changing():
            self._existing(collection, version)
            history = self.history(collection)
            self._record(collection, history.model_copy(update={"pinned": history.pinned | {version}}))

    def unpin(self, collection: str, version: str) -> None:
        """Undo `pin`."""
        with self._changing():
            self._existing(collection, version)
            history = self.history(collection)
            self._record(collection, history.model_copy(update={"pinned": history.pinned - {version}}))

    def prune(self, collection: str, ranked: Sequence[str], keep: int) -> list[str]:
        """Delete all versions but the best.

        What serves, what served before it, the newest and the pinned ones are kept first, the best of the
        others after them, those that are not ranked last.

        Args:
            collection: the name.
            ranked: versions, the best first.
            keep: how many stay, where no more are kept anyway.

        Returns:
            Those that were deleted.
        """
        with self._changing():
            versions = self.versions(collection)
            serves, history = self.best(collection), self.history(collection)
            before = [
                e.version for e in reversed(history.events) if e.version in versions and e.version != serves
            ]
            first = [serves, *versions[-1:], *before[:1], *sorted(history.pinned)]
            order = dict.fromkeys([*first, *ranked, *reversed(versions)])
            protected = set(first)
            kept = [version for version in order if version in versions]
            deleted = [version for version in kept[keep:] if version not in protected]
            home = self._home(collection)
            for version in deleted:
                # Under another name first: nobody meets a version that is half there.
                gone = home / f"{PARTIAL}{version}"
                with suppress(OSError):
                    (home / version).rename(gone)
                shutil.rmtree(gone, ignore_errors=True)
        return deleted

    def _switch(
        self,
        collection: str,
        serves: str | None,
        version: str,
        reason: str,
        at: datetime | None,
        history: History,
    ) -> None:
        """Put a version in service in the place of another one, and write that down."""
        self._serve(collection, version)
        events = _with_event(history, serves, version, reason, at)
        try:
            self._record(collection, history.model_copy(update={"events": events}))
        except ShelfError as error:
            raise ShelfError(f"Version {version} of '{collection}' serves now, but: {error}") from error

    def _serve(self, collection: str, version: str) -> None:
        """Write who serves; the one moment that counts."""
        self._existing(collection, version)
        card = self.load(collection, version).card
        path = self._path(collection, version)
        bests = self.bests()
        bests[collection] = Best(
            model_file=(path / HEAD).relative_to(self.folder).as_posix(),
            derivative_type=card.target,
            embedding_type="+".join(embedding.operation for embedding in card.embeddings),
            dimensionality=sum(card.dimensions),
            version=version,
            card_sha256=sha256(read_bounded(path / CARD, _MAX_JSON_BYTES)),
        )
        plain: dict[str, JsonValue] = {
            name: best.model_dump(mode="json") for name, best in sorted(bests.items())
        }
        with _told_to_people(BEST):
            replace(self.folder / BEST, json.dumps(plain, indent=1).encode())

    def _record(self, collection: str, history: History) -> None:
        here = frozenset(self.versions(collection))
        history = history.model_copy(
            update={
                "events": history.events[-_MAX_EVENTS:],
                "pinned": history.pinned & here,
                # Also of those that are gone, as an equal one may be trained again; the newest of very many.
                "withdrawn": frozenset(sorted(history.withdrawn)[-_MAX_EVENTS:]),
            }
        )
        with _told_to_people(f"The history of '{collection}'"):
            replace(self._home(collection) / HISTORY, history.model_dump_json(indent=1).encode())

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with _told_to_people("The folder of classifiers"):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock", thread_local=False)
            try:
                lock.acquire(timeout=_LOCK_SECONDS)
            except Timeout:
                raise ShelfBusy("Another process changes the classifiers. Try again.") from None
        try:
            yield
        finally:
            lock.release()

    def _sweep(self, home: Path) -> None:
        """Delete what interrupted processes left, while nobody else writes."""
        for path in [*home.glob(f"{PARTIAL}*"), *self.folder.glob(f"{PARTIAL}*")]:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _existing(self, collection: str, version: str) -> None:
        if version not in self.versions(collection):
            raise ShelfError(
                f"'{collection}' has no version '{version}'; it has "
                f"{', '.join(self.versions(collection)) or 'none'}."
            )

    def _home(self, collection: str) -> Path:
        return self.folder / folder_name(collection)

    def _path(self, collection: str, version: str) -> Path:
        if not re.fullmatch(VERSION, version):
            raise ShelfError(f"'{version}' is no name of a version.")
        return self._home(collection) / version

    @contextmanager
    def _told(self, collection: str, version: str) -> Iterator[None]:
        """What is wrong with a version, as a message."""
        try:
            yield
        except (OSError, ValidationError, HeadDamaged, ArraysDamaged) as error:
            remedy = "Roll back to another one, or train again."
            raise _unreadable(f"Version {version} of '{collection}'", error, remedy) from error


def _unreadable(what: str, error: Exception, remedy: str) -> ShelfError:
    """A file that is missing or is not what was written stays so; what else hinders a read may pass."""
    if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT, errno.ENOTDIR):
        return ShelfHindered(f"{what} cannot be read just now ({_first_line(error)}).")
    return ShelfError(f"{what} cannot be read ({_first_line(error)}). {remedy}")


def _delete_empty(home: Path) -> None:
    """Delete the folder of a collection in which nothing is but the lock of who trains."""
    with suppress(OSError):
        if [path.name for path in home.iterdir()] == [_TRAINING]:
            (home / _TRAINING).unlink()
            home.rmdir()


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


def _with_event(
    history: History, serves: str | None, version: str, reason: str, at: datetime | None
) -> tuple[Event, ...]:
    at = at or datetime.now(UTC)
    events = history.events
    if serves is not None and (not events or events[-1].version != serves):
        # It was promoted, and the process ended before that was written down.
        events = (*events, Event(version=serves, at=at, reason="it served"))
    return (*events, Event(version=version, at=at, reason=reason))


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
    if isinstance(error, OSError):
        # Without the path, which is nobody's business.
        return error.strerror or str(error) or type(error).__name__
    return str(error)


@contextmanager
def _told_to_people(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ShelfError(f"{what} cannot be written ({_first_line(error)}).") from error
