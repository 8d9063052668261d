"""Repositories of the Hugging Face hub, in that hub's own cache on this machine.

The cache's layout is documented with huggingface_hub: `models--org--name/` holds `blobs/` (files named by
their content), `snapshots/<commit>/` (the repository's names, as links to blobs) and `refs/` (the commit that
a branch or tag was). Files that other tools put there are used as they are.

Large files are fetched by `app.engines.transfer`, because huggingface_hub from 1.18 on throws away what an
interrupted process has already got. Everything else is left to huggingface_hub, so that HF_HOME, HF_ENDPOINT,
HF_HUB_CACHE and HF_TOKEN mean what they always mean.
"""

import contextlib
import re
import shutil
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from app.core.weights import Progress
from app.engines.contents import Damaged, Expected, FileRecord, examined
from app.engines.hub_errors import told_to_people
from app.engines.transfer import (
    TIMEOUT_SECONDS,
    TRANSIENT,
    Remote,
    Tally,
    TransferFailed,
    TryAgain,
    check_room,
    obtain,
    patiently,
)
from app.engines.weights import Hub

_COMMIT = re.compile("[0-9a-f]{40}")
_SHA256 = re.compile("[0-9a-f]{64}")
# The end of the name tells huggingface_hub's own tools what it is.
_PART = ".sightgraph.incomplete"
_LIBRARY = "sightgraph"


def keeps_off_network() -> bool:
    """Whether HF_HUB_OFFLINE says that the hub must not be asked."""
    from huggingface_hub import constants

    return constants.is_offline_mode()


def snapshot(weights: Hub, commit: str) -> Path:
    """The folder of a commit's files, whether it is there or not."""
    return _repository(weights) / "snapshots" / commit


def commit_in_cache(weights: Hub) -> str:
    """The commit that the cache knows for the revision asked for; empty where it knows none."""
    if _COMMIT.fullmatch(weights.revision):
        return weights.revision
    try:
        return (_repository(weights) / "refs" / weights.revision).read_text("utf-8").strip()
    except OSError:
        return ""


def expected_of(path: Path) -> Expected:
    """What the cache itself tells of a file: a blob is named by its content."""
    if not path.is_symlink():
        return Expected()
    name = path.readlink().name
    if _SHA256.fullmatch(name):
        return Expected(sha256=name)
    return Expected(git_id=name) if _COMMIT.fullmatch(name) else Expected()


def pull(
    weights: Hub, commit: str, pinned: Mapping[str, FileRecord] | None, progress: Progress
) -> tuple[str, dict[str, FileRecord]]:
    """Fetch what is missing or damaged of a commit, or of what the revision is now.

    Args:
        weights: the repository and its files.
        commit: the one to fetch; empty for what the revision leads to.
        pinned: what the files must be; None accepts what the hub tells.
        progress: told of the bytes of all files together.

    Returns:
        The commit, and what its files are.

    Raises:
        TransferFailed: they cannot be had; the message says why.
        OSError: they cannot be written.
    """
    with told_to_people(weights):
        commit, listed = patiently(lambda: _listing(weights, commit))
        wanted = _wanted(weights, listed, pinned)
        folder = snapshot(weights, commit)
        tally = Tally(progress, sum(file.size or 0 for file in wanted.values()))
        records: dict[str, FileRecord] = {}
        for name, expected in wanted.items():
            with contextlib.suppress(Damaged, OSError):
                records[name] = examined(folder / name, expected)
                tally.add(records[name].size)
        parts = sum(part.stat().st_size for part in _repository(weights).glob(f"blobs/*{_PART}"))
        check_room(folder, tally.total - tally.done - parts)
        for name in [name for name in wanted if name not in records]:
            # What is there is damaged, or a link that leads nowhere.
            (folder / name).unlink(missing_ok=True)
            fetch = _fetch_large if listed[name].sha256 else _fetch_small
            records[name] = fetch(weights, commit, name, wanted[name], tally)
    if pinned is None:
        _remember_revision(weights, commit)
    progress(tally.total, tally.total)
    return commit, records


def remove(weights: Hub, commit: str) -> int:
    """Take a commit's files out of the cache, or the whole repository where it holds no other commit.

    Returns:
        The bytes that became free.
    """
    from huggingface_hub import scan_cache_dir

    folder = _repository(weights)
    if not folder.is_dir():
        return 0
    before = _bytes_under(folder)
    cache = scan_cache_dir(folder.parent)
    commits = {
        revision.commit_hash
        for repository in cache.repos
        if repository.repo_path == folder
        for revision in repository.revisions
    }
    if commits <= {commit}:
        # Also what the library does not recognise, such as an interrupted download.
        shutil.rmtree(folder)
        return before
    if commit in commits:
        cache.delete_revisions(commit).execute()
    for part in folder.glob(f"blobs/*{_PART}"):
        part.unlink()
    return before - _bytes_under(folder)


def _repository(weights: Hub) -> Path:
    # The top of the package costs 20 ms to import; what downloads costs 0.7 s.
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{weights.repository.replace('/', '--')}"


def _listing(weights: Hub, commit: str) -> tuple[str, dict[str, Expected]]:
    """The commit, and what the hub tells of every file in it."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info = HfApi(library_name=_LIBRARY).model_info(
            weights.repository,
            revision=commit or weights.revision,
            files_metadata=True,
            timeout=TIMEOUT_SECONDS,
        )
    except HfHubHTTPError as error:
        if error.response.status_code in TRANSIENT:
            raise TryAgain(f"the hub answered {error.response.status_code}") from error
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise TransferFailed("The answer is not that of a hub. Check HF_ENDPOINT where it is set.") from error
    if info.sha is None or _COMMIT.fullmatch(info.sha) is None or commit not in ("", info.sha):
        raise TransferFailed(f"The hub does not know commit {commit[:7] or weights.revision}.")
    listed = {}
    for file in info.siblings or []:
        if ".." in Path(file.rfilename).parts or Path(file.rfilename).is_absolute():
            raise TransferFailed("The hub lists a file that lies outside of the repository.")
        if file.lfs is not None and _SHA256.fullmatch(file.lfs.sha256):
            listed[file.rfilename] = Expected(size=file.lfs.size, sha256=file.lfs.sha256)
        else:
            listed[file.rfilename] = Expected(size=file.size, git_id=file.blob_id or "")
    return info.sha, listed


def _wanted(
    weights: Hub, listed: Mapping[str, Expected], pinned: Mapping[str, FileRecord] | None
) -> dict[str, Expected]:
    """The needed files, with what they must be."""
    wanted: dict[str, Expected] = {}
    for pattern in (*weights.files, *weights.optional):
        names = [name for name in listed if fnmatchcase(name, pattern)]
        if pinned is not None:
            names = [name for name in names if name in pinned]
        if not names and pattern in weights.files:
            which = "" if pinned is None else " that is pinned"
            raise TransferFailed(f"The repository has no file {pattern}{which}.")
        for name in names:
            wanted[name] = listed[name] if pinned is None else _agreed(name, listed[name], pinned[name])
    return wanted


def _agreed(name: str, listed: Expected, pinned: FileRecord) -> Expected:
    if listed.size not in (None, pinned.size) or listed.sha256 not in ("", pinned.sha256):
        raise TransferFailed(f"The hub's {name} is not the one that is pinned.")
    return Expected(size=pinned.size, sha256=pinned.sha256, git_id=listed.git_id)


def _fetch_large(weights: Hub, commit: str, name: str, expected: Expected, tally: Tally) -> FileRecord:
    """A file whose SHA-256 the hub tells, which is also the name of its blob."""
    from huggingface_hub import get_session, hf_hub_download, hf_hub_url

    # Public and documented there, but imported without an `as`, which strict typing takes for private.
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]
    from huggingface_hub.utils.tqdm import silent_tqdm

    assert expected.size is not None
    blob = _repository(weights) / "blobs" / expected.sha256
    try:
        # It may have come with another commit, or before an interruption.
        record = examined(blob, expected)
        tally.add(record.size)
    except (Damaged, FileNotFoundError):
        blob.parent.mkdir(parents=True, exist_ok=True)
        url = hf_hub_url(weights.repository, name, revision=commit)
        remote = Remote(name, url, expected.size, build_hf_headers(library_name=_LIBRARY), fixed=True)
        part, record = obtain(get_session(), remote, blob.with_name(f"{blob.name}{_PART}"), expected, tally)
        part.replace(blob)
    # Finds the blob, and links it into the snapshot.
    path = Path(hf_hub_download(weights.repository, name, revision=commit, tqdm_class=silent_tqdm))
    return record if path.samefile(blob) else examined(path, expected)


def _fetch_small(weights: Hub, commit: str, name: str, expected: Expected, tally: Tally) -> FileRecord:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils.tqdm import silent_tqdm

    if expected.git_id:
        blob = _repository(weights) / "blobs" / expected.git_id
        with contextlib.suppress(FileNotFoundError):
            try:
                examined(blob, expected)
            except Damaged:
                blob.unlink()
    path = Path(hf_hub_download(weights.repository, name, revision=commit, tqdm_class=silent_tqdm))
    try:
        record = examined(path, expected)
    except Damaged as error:
        raise TransferFailed(f"What the hub sent as {name} {error}.") from error
    tally.add(record.size)
    return record


def _remember_revision(weights: Hub, commit: str) -> None:
    """Let other tools find the commit offline. One that they know already is theirs, and stays."""
    ref = _repository(weights) / "refs" / weights.revision
    if weights.revision != commit and not ref.exists():
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(commit, "utf-8")


def _bytes_under(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
