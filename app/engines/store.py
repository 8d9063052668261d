"""The weights on this machine: whether they are here and right, and how they come and go."""

import errno
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

from app.core.errors import ModelUnavailable
from app.core.key import digest
from app.core.operation import EngineSpec
from app.core.weights import Placement, Progress, Store
from app.engines import bundled, download, hub
from app.engines.contents import Damaged, Expected, FileRecord, examined
from app.engines.device import placement
from app.engines.files import Files, Kept, Problem, WeightsState, look, needed, used
from app.engines.manifest import Manifest, ManifestDamaged, WeightsRecord
from app.engines.transfer import TransferFailed
from app.engines.weights import Bundled, Download, Hub

# For how long what was seen on the disk is believed.
_SEEN_FOR_SECONDS = 1.0
# How often a pull that waits for another process asks whether it is still wanted.
_ASK_EVERY_SECONDS = 0.5


def read_pins(path: Path | None) -> Manifest | None:
    """What pins the weights of this machine: the record, `weights.json`, of another one."""
    return None if path is None else Manifest(path)


class LocalStore(Store):
    """Weights in packages, in the Hugging Face cache and in the folders of the libraries that use them.

    Args:
        data: the folder of the record.
        offline: whether to keep off the network.
        pins: what the weights must be; those that it does not name are refused.
        device: where models compute: torch's name for it, or `auto`.
        precision: what they compute in, or `auto`.
        threads: on how many each call computes, on a CPU.
        clock: seconds, for how long what was seen is believed.
    """

    def __init__(
        self,
        data: Path,
        *,
        offline: bool = False,
        pins: Manifest | None = None,
        device: str = "cpu",
        precision: str = "float32",
        threads: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._data = data
        self._offline = offline
        self._pins = pins
        self._device = device
        self._precision = precision
        self._threads = threads
        self._clock = clock
        self._manifest = Manifest(data / "weights.json", clock)
        self._seen: dict[Bundled | Kept, tuple[float, WeightsState]] = {}
        self._fingerprints: dict[Kept, tuple[WeightsRecord | None, str]] = {}

    def check_record(self) -> None:
        """Whether what is recorded, and what is pinned, can be read.

        Raises:
            ManifestDamaged: it cannot.
        """
        for manifest in (self._manifest, self._pins):
            if manifest is not None:
                manifest.get("")

    def fingerprint(self, spec: EngineSpec) -> str:
        weights = _known(spec)
        if isinstance(weights, Bundled):
            return bundled.fingerprint(weights)
        record = self._readable_record(weights)
        known = self._fingerprints.get(weights)
        if known is None or known[0] is not record:
            known = self._fingerprints[weights] = record, _fingerprint(weights, record)
        return known[1]

    def source(self, spec: EngineSpec) -> str:
        weights = _known(spec)
        if isinstance(weights, Bundled):
            return bundled.source(weights)
        commit = self.commit(spec)
        return f"{weights.source}@{commit[:7]}" if commit else weights.source

    def commit(self, spec: EngineSpec) -> str:
        weights = _known(spec)
        return _commit(weights, self._readable_record(weights)) if isinstance(weights, Hub) else ""

    def caution(self, spec: EngineSpec) -> str:
        return ""

    def present(self, spec: EngineSpec) -> bool:
        return self.state(spec) in (WeightsState.BUNDLED, WeightsState.ON_DISK)

    def state(self, spec: EngineSpec) -> WeightsState:
        """How much is here, by names and sizes."""
        weights = _known(spec)
        until, state = self._seen.get(weights, (float("-inf"), WeightsState.ABSENT))
        if self._clock() >= until:
            if isinstance(weights, Bundled):
                state = WeightsState.BUNDLED if bundled.is_installed(weights) else WeightsState.ABSENT
            else:
                state = self._look(weights, self._readable_record(weights))[1].state
            self._seen[weights] = self._clock() + _SEEN_FOR_SECONDS, state
        return state

    def size_bytes(self, spec: EngineSpec) -> int:
        weights = _known(spec)
        if isinstance(weights, Bundled):
            return sum(path.stat().st_size for path in bundled.paths(weights) if path.is_file())
        record = self._readable_record(weights)
        recorded = {} if record is None else record.files
        return sum(recorded[name].size for name in used(weights, recorded)) or weights.size_bytes

    def remedy(self, spec: EngineSpec) -> str:
        weights = _known(spec)
        if isinstance(weights, Bundled):
            return f"Install the package {weights.distribution}."
        if self.state(spec) is WeightsState.ON_DISK and not self._keeps_off_network(weights):
            return (
                f"To fetch them anew, run `sightgraph models rm {weights.id}` and then "
                f"`sightgraph models pull {weights.id}`."
            )
        return self._advice(weights)

    def obstacle(self, spec: EngineSpec) -> str:
        weights = _known(spec)
        if isinstance(weights, Bundled):
            return f"'{spec.name}' ships in the package {weights.distribution}, and stays with it."
        if self._keeps_off_network(weights):
            return f"This server keeps off the network. {self._advice(weights)}"
        with suppress(ManifestDamaged):
            if self._is_refused(weights):
                return f"The weights '{weights.id}' are not fetched. {self._advice(weights)}"
        return ""

    def open(self, spec: EngineSpec) -> Placement:
        weights = _known(spec)
        if isinstance(weights, Bundled):
            self._check_installed(spec)
            folder = bundled.folder_of(weights)
        else:
            problems, folder = self._examined(weights)
            self._refuse(weights, problems)
        return self.place(folder)

    def place(self, folder: Path) -> Placement:
        """Weights of this folder on the device, and in the precision, where models compute.

        Raises:
            ModelUnavailable: this machine has no such device.
        """
        try:
            return placement(folder, self._device, self._precision, self._threads)
        except ValueError as error:
            raise ModelUnavailable(f"{error}.") from error

    def verify(self, spec: EngineSpec) -> list[Problem]:
        """Read every file, and tell what is wrong.

        Raises:
            ModelUnavailable: the record cannot be read or written.
        """
        weights = _known(spec)
        if isinstance(weights, Bundled):
            return [Problem(path.name, "is missing") for path in bundled.paths(weights) if not path.is_file()]
        return self._examined(weights)[0]

    def pull(self, spec: EngineSpec, progress: Progress) -> None:
        """Download what is missing or damaged. What is recorded stays at its commit until it is removed."""
        weights = _known(spec)
        if isinstance(weights, Bundled):
            self._check_installed(spec)
            return
        with _told_to_people(weights):
            if self._keeps_off_network(weights) or self._is_refused(weights):
                self._refuse(weights, self._examined(weights)[0])
                return
            with self._alone(weights, progress):
                if self._examined(weights)[0]:
                    self._fetch(weights, progress)
                else:
                    progress(self.size_bytes(spec), self.size_bytes(spec))

    def remove(self, spec: EngineSpec, others: Iterable[EngineSpec] = ()) -> int:
        """Delete the files; those in packages stay, and those that other weights need which are here.

        Args:
            spec: whose weights.
            others: engines whose weights may share files with these.

        Returns:
            The bytes that became free.

        Raises:
            ModelUnavailable: they cannot be deleted.
        """
        weights = _known(spec)
        if isinstance(weights, Bundled):
            return 0
        with _told_to_people(weights), self._alone(weights, _nobody_asks):
            if isinstance(weights, Hub):
                freed = hub.remove(weights, _commit(weights, self._record(weights)))
            else:
                neighbours = [
                    other.weights
                    for other in others
                    if isinstance(other.weights, Download)
                    and other.weights.id != weights.id
                    and other.weights.cache == weights.cache
                    and self.present(other)
                ]
                freed = download.remove(weights, {name for other in neighbours for name in needed(other)})
            self._manifest.drop(weights.id)
            self._seen.clear()
        return freed

    def _refuse(self, weights: Kept, problems: Iterable[Problem]) -> None:
        told = "; ".join(str(problem) for problem in problems)
        if told:
            raise ModelUnavailable(
                f"The weights '{weights.id}' cannot be used: {told}. {self._advice(weights)}"
            )

    def _check_installed(self, spec: EngineSpec) -> None:
        if not self.present(spec):
            raise ModelUnavailable(f"'{spec.name}' is not installed. {self.remedy(spec)}")

    def _record(self, weights: Kept) -> WeightsRecord | None:
        """What the files must be, where that is pinned or recorded.

        Raises:
            ManifestDamaged: the record cannot be read.
        """
        if self._pins is not None:
            return self._pins.get(weights.id)
        record = self._manifest.get(weights.id)
        return record if record is not None and record.revision == _revision(weights) else None

    def _readable_record(self, weights: Kept) -> WeightsRecord | None:
        """The same, and None where the record cannot be read, of which opening and pulling tell."""
        with suppress(ManifestDamaged):
            return self._record(weights)
        return None

    def _is_refused(self, weights: Kept) -> bool:
        return self._pins is not None and self._record(weights) is None

    def _keeps_off_network(self, weights: Kept) -> bool:
        return self._offline or (isinstance(weights, Hub) and hub.keeps_off_network())

    def _advice(self, weights: Kept) -> str:
        with suppress(ManifestDamaged):
            if self._is_refused(weights):
                return "They are not among the weights that SIGHTGRAPH_PINNED_WEIGHTS names."
        where = " where the network may be used" if self._keeps_off_network(weights) else ""
        return f"Run `sightgraph models pull {weights.id}`{where}."

    def _look(self, weights: Kept, record: WeightsRecord | None) -> tuple[Path, Files]:
        folder = _folder(weights, record)
        if folder is None or (record is None and self._pins is not None):
            return self._data, Files((), needed(weights))
        return folder, look(weights, folder, {} if record is None else record.files)

    def _examined(self, weights: Kept) -> tuple[list[Problem], Path]:
        """What is wrong with the files, and their folder. Where nothing is, all of them are recorded.

        Raises:
            ModelUnavailable: the record cannot be read or written.
        """
        record = self._record(weights)
        recorded = {} if record is None else record.files
        folder, files = self._look(weights, record)
        problems = [Problem(name, "is missing") for name in files.missing]
        found: dict[str, FileRecord] = {}
        for name in files.here:
            try:
                found[name] = examined(folder / name, _expected(weights, folder, name, recorded))
            except Damaged as error:
                problems.append(Problem(name, str(error)))
            except OSError as error:
                problems.append(Problem(name, f"cannot be read ({_why(error)})"))
        if not problems and found.keys() - recorded.keys():
            self._write_down(weights, _commit(weights, record) if isinstance(weights, Hub) else "", found)
        return problems, folder

    def _fetch(self, weights: Kept, progress: Progress) -> None:
        record = self._record(weights)
        pinned = None if self._pins is None or record is None else record.files
        if isinstance(weights, Hub):
            commit, found = hub.pull(weights, "" if record is None else record.commit, pinned, progress)
            self._write_down(weights, commit, found)
        else:
            self._write_down(weights, "", download.pull(weights, pinned, progress))

    def _write_down(self, weights: Kept, commit: str, found: dict[str, FileRecord]) -> None:
        kind = "hub" if isinstance(weights, Hub) else "download"
        record = WeightsRecord(kind=kind, revision=_revision(weights), commit=commit, files=found)
        try:
            self._manifest.put(weights.id, record)
        except OSError as error:
            raise ModelUnavailable(
                f"What the weights '{weights.id}' consist of cannot be recorded ({_why(error)}). "
                "SIGHTGRAPH_DATA must name a folder that can be written."
            ) from error
        self._seen.clear()

    @contextmanager
    def _alone(self, weights: Kept, progress: Progress) -> Iterator[None]:
        """Only one process at a time changes the files of these weights, and of those that may share them."""
        from filelock import FileLock, Timeout

        folder = self._data / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        shared = weights.cache if isinstance(weights, Download) else weights.id
        lock = FileLock(folder / f"{quote(shared, safe='')}.lock")
        while not lock.is_locked:
            try:
                lock.acquire(timeout=_ASK_EVERY_SECONDS)
            except Timeout:
                progress(0, weights.size_bytes)
        try:
            # Another process may just have written.
            self._manifest.refresh()
            yield
        finally:
            lock.release()


def _known(spec: EngineSpec) -> Bundled | Kept:
    weights = spec.weights
    if not isinstance(weights, Bundled | Hub | Download):
        raise TypeError(f"{spec.name}: weights of the kind {type(weights).__name__} are not known")
    return weights


def _revision(weights: Kept) -> str:
    return weights.revision if isinstance(weights, Hub) else ""


def _commit(weights: Hub, record: WeightsRecord | None) -> str:
    return hub.commit_in_cache(weights) if record is None else record.commit


def _folder(weights: Kept, record: WeightsRecord | None) -> Path | None:
    """Where the files lie; None for a repository of which nothing is here."""
    if isinstance(weights, Download):
        return download.folder_of(weights)
    commit = _commit(weights, record)
    return hub.snapshot(weights, commit) if commit else None


def _expected(weights: Kept, folder: Path, name: str, recorded: Mapping[str, FileRecord]) -> Expected:
    if name in recorded:
        return Expected(size=recorded[name].size, sha256=recorded[name].sha256)
    if isinstance(weights, Hub):
        return hub.expected_of(folder / name)
    return download.expected_of(weights, name)


def _fingerprint(weights: Kept, record: WeightsRecord | None) -> str:
    if record is None:
        return digest("declared", type(weights).__name__, asdict(weights))
    return digest(*((name, record.files[name].sha256) for name in used(weights, record.files)))


def _nobody_asks(done: int, total: int) -> None:
    """The progress of what has none."""


@contextmanager
def _told_to_people(weights: Kept) -> Iterator[None]:
    """Failures as messages that say what to do."""
    try:
        yield
    except TransferFailed as error:
        raise ModelUnavailable(f"'{weights.id}' cannot be downloaded. {error}") from error
    except OSError as error:
        raise ModelUnavailable(f"The files of '{weights.id}' cannot be written ({_why(error)}).") from error


def _why(error: OSError) -> str:
    """Without the path, which is nobody's business."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "the disk is full" if full else error.strerror or type(error).__name__
