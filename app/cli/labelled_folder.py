"""Training rows from a folder of images: `FOLDER/<collection>/<class>/*`, or `FOLDER/<class>/*` for one
collection.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.cli.embedding import Embedded, EmbeddedFiles
from app.core.target import FaceContext
from app.core.wording import quoted
from classifiers.rows import DEFAULT_FACE_CONTEXT, Embedding, SourceError, TrainingSet
from classifiers.sources.assembly import Assembly, Found, counted
from classifiers.sources.labels import NEGATIVE, POSITIVE


@dataclass(frozen=True, slots=True)
class Arranged:
    """The images of one collection, as paths in its folder that begin with the class.

    `loose` counts those that lie in no class.
    """

    folder: Path
    images: list[str]
    loose: int


# What embeds the images of a collection: its name and folder, and their paths.
Embed = Callable[[str, Path, Sequence[str]], EmbeddedFiles]
# Is told of a file that is left out, and why.
Tell = Callable[[str, str], None]


def arranged(folder: Path, images: Iterable[str]) -> dict[str, Arranged]:
    """The collections of a folder, by their names.

    The folder is itself a collection when the folders in it hold images, or are called positive and negative;
    else each of them is one.

    Args:
        folder: the folder.
        images: the paths of all images in it.

    Raises:
        SourceError: there is no image in a class, or it cannot be told what is a class.
    """
    images = list(images)
    inside = [path.split("/") for path in images if "/" in path]
    holding = {parts[0] for parts in inside if len(parts) == 2}
    children = {parts[0] for parts in inside}
    if not children:
        raise SourceError(
            f"{folder}: has no folders with images. A class is a folder of images, such as "
            f"{folder.name}/{POSITIVE} and {folder.name}/{NEGATIVE}."
        )
    if holding == children or any(child.lower() in (POSITIVE, NEGATIVE) for child in children):
        return {folder.resolve().name: _collection(folder, images)}
    if holding:
        deep = min(children - holding)
        raise SourceError(
            f"{folder}: its folders cannot be told apart: images lie in {quoted(min(holding))}, as in a "
            f"class, and only deeper in {quoted(deep)}, as in a collection with classes. Give one of them as "
            f"the source, or move the images."
        )
    by_child: dict[str, list[str]] = {child: [] for child in sorted(children)}
    for child, *rest in inside:
        by_child[child].append("/".join(rest))
    return {child: _collection(folder / child, paths) for child, paths in by_child.items()}


def _collection(folder: Path, paths: Sequence[str]) -> Arranged:
    classed = [path for path in paths if "/" in path]
    return Arranged(folder, classed, len(paths) - len(classed))


class FolderSource:
    """The collections of a folder, by the names of their folders.

    Each file is a photo of its own, whose id is its path in the collection's folder, unless a pattern tells
    which files are crops or frames of one: those are never on both sides of a split.

    Args:
        folder: the folder.
        images: the paths of the images in it.
        embeddings: what is made of each image.
        target: of which region.
        embed: makes it.
        tell: is told of files that contradict each other.
        face_context: where a prominent face is looked for.
        group_by: what of a file's path in its class names the photo: its first group, or all that matches.

    Raises:
        SourceError: the folders are not arranged in classes.
    """

    def __init__(
        self,
        folder: Path,
        images: Sequence[str],
        embeddings: Sequence[Embedding],
        target: str,
        *,
        embed: Embed,
        tell: Tell,
        face_context: FaceContext = DEFAULT_FACE_CONTEXT,
        group_by: re.Pattern[str] | None = None,
    ) -> None:
        self._folder = folder
        self._arranged = arranged(folder, images)
        self._embeddings = embeddings
        self._target = target
        self._embed = embed
        self._tell = tell
        self._face_context = face_context
        self._group_by = group_by

    def collections(self) -> Sequence[str]:
        return list(self._arranged)

    def training_set(self, name: str) -> TrainingSet:
        if name not in self._arranged:
            known = ", ".join(self._arranged)
            raise SourceError(f"{self._folder}: no collection is called {quoted(name)}. There are: {known}.")
        collection = self._arranged[name]
        done = self._embed(name, collection.folder, collection.images)
        copies, contradicting = self._same(done.files)
        assembly = Assembly(name, self._target, self._embeddings, face_context=self._face_context)
        photos: dict[str, str | None] = {}
        for path in sorted(done.files.keys() - copies - contradicting):
            found = done.files[path]
            class_, *within = path.split("/")
            slices = {**found.slices, **({"folder": within[0]} if len(within) > 1 else {})}
            photo = photos[path] = self._photo("/".join(within))
            assembly.add(
                Found(
                    path,
                    photo or path,
                    class_,
                    found.vectors,
                    done.spaces,
                    found.phash,
                    slices,
                    found.measures,
                )
            )
        region = self._target.replace("_", " ")
        notes = (
            (collection.loose, "in no folder of a class"),
            (done.failed, "not to be read or embedded"),
            (done.without_region, f"without a {region}"),
            (len(copies), "copies of files of their class"),
            (len(contradicting), "the same file in two classes"),
        )
        told = [f"Left out, {why}: {counted(count, 'file')}." for count, why in notes if count]
        if done.whole_instead:
            told.append(f"Taken whole, without a {region}: {counted(done.whole_instead, 'file')}.")
        if self._group_by is not None:
            told.append(_grouped(list(photos.values())))
        return assembly.training_set(told)

    def _photo(self, path: str) -> str | None:
        """The photo that a path in a class names; None where it names none."""
        found = self._group_by and self._group_by.search(path)
        if not found:
            return None
        return (found[1] if found.re.groups else found[0]) or None

    def _same(self, embedded: dict[str, Embedded]) -> tuple[set[str], set[str]]:
        """The files whose contents another one of their class has, and those that are in two classes."""
        firsts: dict[str, str] = {}
        copies: set[str] = set()
        contradicting: set[str] = set()
        for path in sorted(embedded):
            first = firsts.setdefault(embedded[path].sha256, path)
            if first == path:
                continue
            if path.split("/")[0] == first.split("/")[0]:
                copies.add(path)
            else:
                contradicting |= {first, path}
                self._tell(path, f"is the same file as {first}; which class is it?")
        # With its first, every copy of a contradiction is one too.
        for path in copies.copy():
            if firsts[embedded[path].sha256] in contradicting:
                copies.remove(path)
                contradicting.add(path)
        return copies, contradicting


def _grouped(photos: Sequence[str | None]) -> str:
    """How many files are of how many photos."""
    named = [photo for photo in photos if photo is not None]
    told = f"Grouped by --group-by: {counted(len(named), 'file')} of {counted(len(set(named)), 'photo')}"
    alone = len(photos) - len(named)
    return (
        f"{told}; {counted(alone, 'file')} that it does not match, each a photo of its own."
        if alone
        else f"{told}."
    )
