"""The shelf: stored versions of heads, and which of them serves.

    <folder>/best_models.json                           what serves, and nothing else decides that
    <folder>/<collection>/history.json                  what served before, is pinned or withdrawn
    <folder>/<collection>/<time>-<digest>/head.npz      the arrays of a version
                                          photos.npz    digests of the photos that it has seen
                                          report.html   of its training
                                          card.json     with the checksums of the files beside it

Whatever is interrupted, what served goes on serving.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from classifiers.card import Card
from classifiers.current import CurrentHeads
from classifiers.durable import read_bounded
from classifiers.head import Head
from classifiers.promotions import Best, History, read_bests, read_history, write_bests, write_history
from classifiers.shelf_errors import ShelfBusy, ShelfError, ShelfHindered, writing
from classifiers.stored import CARD, HEAD, MAX_JSON_BYTES, folder_name, sha256, version_name
from classifiers.version_store import VersionStore

__all__ = [
    "Shelf",
    "ShelfBusy",
    "ShelfError",
    "ShelfHindered",
    "Stored",
    "folder_name",
    "version_name",
]

_LOCK_SECONDS = 20.0
_TRAINING = ".training.lock"


@dataclass(frozen=True, slots=True)
class Stored:
    """A version on the shelf. Of one that cannot be read there is no card, but a problem."""

    version: str
    card: Card | None
    problem: str | None
    serves: bool
    pinned: bool
    withdrawn: bool


class Shelf(VersionStore):
    """The versions in a folder, of which one serves each collection, for any number of processes.

    Args:
        folder: where they lie; it is made when the first one is stored.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
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
        return read_bests(self.folder)

    def best(self, collection: str) -> str | None:
        """The version that serves."""
        best = self.bests().get(collection)
        return None if best is None else best.version

    def history(self, collection: str) -> History:
        """Raises ShelfError: the file cannot be read."""
        return read_history(self.home(collection), collection)

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

    # What changes the shelf

    @contextmanager
    def training(self, collection: str) -> Iterator[None]:
        """While one trains a collection no other does. Where nothing comes of it, no folder is left.

        Raises:
            ShelfBusy: another one does.
        """
        home = self.home(collection)
        lock = FileLock(home / _TRAINING, thread_local=False)
        # The lock is taken and its folder deleted within the other lock: nobody waits for a file that goes.
        with self._changing(), writing(f"The folder of '{collection}'"):
            home.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise ShelfBusy(
                    f"Another process trains '{collection}' already. Wait until it is done, or stop it."
                ) from None
        try:
            with self._changing():
                self.sweep(collection)
            yield
        finally:
            try:
                with suppress(OSError, ShelfError):
                    if not self.versions(collection):
                        with self._changing():
                            _delete_empty(home)
            finally:
                lock.release()

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
            self._switch(collection, serves, version, reason, at, history.readmitting(version))
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
            before = None
            if serves is not None:
                history = history.withdrawing(serves)
                here = {one for one in self.versions(collection) if not history.is_withdrawn(one)}
                before = history.last_served(here)
            if before is None:
                raise ShelfError(
                    f"No earlier version of '{collection}' is here to go back to. "
                    "Promote one of its versions by name instead."
                )
            self._switch(collection, serves, before, reason, at, history)
        return before

    def pin(self, collection: str, version: str) -> None:
        """Keep a version whatever better ones come."""
        with self._changing():
            self.check_is_here(collection, version)
            self._record(collection, self.history(collection).pinning(version))

    def unpin(self, collection: str, version: str) -> None:
        """Undo `pin`."""
        with self._changing():
            self.check_is_here(collection, version)
            self._record(collection, self.history(collection).unpinning(version))

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
            before = history.last_served([version for version in versions if version != serves])
            first = [serves, *versions[-1:], before, *sorted(history.pinned)]
            order = dict.fromkeys([*first, *ranked, *reversed(versions)])
            protected = set(first)
            kept = [version for version in order if version in versions]
            deleted = [version for version in kept[keep:] if version not in protected]
            for version in deleted:
                self.delete(collection, version)
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
        try:
            self._record(collection, history.promoting(version, serves, reason, at))
        except ShelfError as error:
            raise ShelfError(f"Version {version} of '{collection}' serves now, but: {error}") from error

    def _serve(self, collection: str, version: str) -> None:
        """Write who serves; the one moment that counts."""
        self.check_is_here(collection, version)
        card = self.load(collection, version).card
        path = self.path(collection, version)
        best = Best(
            model_file=(path / HEAD).relative_to(self.folder).as_posix(),
            derivative_type=card.target,
            embedding_type="+".join(embedding.operation for embedding in card.embeddings),
            dimensionality=sum(card.dimensions),
            version=version,
            card_sha256=sha256(read_bounded(path / CARD, MAX_JSON_BYTES)),
        )
        write_bests(self.folder, {**self.bests(), collection: best})

    def _record(self, collection: str, history: History) -> None:
        write_history(self.home(collection), collection, history.bounded(self.versions(collection)))

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with writing("The folder of classifiers"):
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


def _delete_empty(home: Path) -> None:
    """Delete the folder of a collection in which nothing is but the lock of who trains."""
    with suppress(OSError):
        if [path.name for path in home.iterdir()] == [_TRAINING]:
            (home / _TRAINING).unlink()
            home.rmdir()
