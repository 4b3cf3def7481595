"""Names the results of a batch: as the photos are named, in the same folders, no two of them alike."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from c2p_core.batch.sources import ENDINGS, Source, Sources
from c2p_core.batch.urls import is_url, relative_name
from c2p_core.io.atomic_files import fit_name

# As `io.photo_files.ending_for`, which would load the image libraries only to name files.
_OTHER_ENDINGS = {".mpo": ".jpg", ".heic": ".jpg", ".heif": ".jpg", ".hif": ".png"}


@dataclass(frozen=True, slots=True)
class Item:
    """One photo of a batch.

    Attributes:
        number: from 0, in the order of the plan.
        path: of the photo, absolute.
        place: of the result, relative to the folder of results, with the separators of this system.
        size, mtime_ns: of the photo when it was found; -1 where unknown.
    """

    number: int
    path: str
    place: str
    size: int = -1
    mtime_ns: int = -1


def plan_items(sources: Sources) -> list[Item]:
    """Give every photo its place.

    Where two photos would get one name (a.jpg and a.mpo; A.jpg and a.jpg where a disk may ignore case), the one whose
    own name it is keeps it, another gets its whole name before the ending, and then a number.
    """
    places = _distinguish([(_relative(source.path, sources.base), source) for source in sources.files])
    return [
        Item(number, source.path, place, source.size, source.mtime_ns)
        for number, (place, source) in enumerate(zip(places, sources.files, strict=True))
    ]


def place_of(path: str, base: str) -> str:
    """The place of a photo that comes alone, as a watched folder's do."""
    return _with_ending(_relative(path, base))


def place_with_whole_name(path: str, base: str) -> str:
    """Another place for it, where that one is taken."""
    return _with_whole_name(_relative(path, base))


def _relative(path: str, base: str) -> str:
    if is_url(path):
        return relative_name(path, base).replace("/", os.sep)
    if base:
        return os.path.relpath(path, base)
    # On two drives, the drive becomes a folder.
    drive, rest = os.path.splitdrive(path)
    return os.path.join(drive.strip(":\\/").replace("\\", "_") or "files", rest.lstrip("\\/"))


def _with_ending(place: str) -> str:
    folder, name = os.path.split(place)
    stem, ending = os.path.splitext(name)
    if ending.lower() not in ENDINGS:
        stem, ending = name, ".png"
    return os.path.join(folder, fit_name(stem, _OTHER_ENDINGS.get(ending.lower(), ending)))


def _with_whole_name(place: str) -> str:
    folder, name = os.path.split(place)
    ending = os.path.splitext(_with_ending(place))[1]
    return os.path.join(folder, fit_name(name, ending))


def number_places(place: str) -> Iterator[str]:
    """Further places, where that one is taken: with the numbers from 2 before the ending, without end."""
    folder, name = os.path.split(place)
    stem, ending = os.path.splitext(name)
    number = 2
    while True:
        yield os.path.join(folder, fit_name(stem, f"-{number}{ending}"))
        number += 1


def _normalise(place: str) -> str:
    """Equal for places that are one file on a disk that ignores case or Unicode normalisation."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", place).casefold())


def _distinguish(wanted: Sequence[tuple[str, Source]]) -> list[str]:
    first = [_with_ending(relative) for relative, _ in wanted]
    alike: defaultdict[str, list[int]] = defaultdict(list)
    for index, place in enumerate(first):
        alike[_normalise(place)].append(index)
    taken = set(alike)
    for group in alike.values():
        if len(group) == 1:
            continue
        # By name, so that the order of the arguments changes nothing; the one that is named so already comes first.
        group.sort(key=lambda index: (wanted[index][0] != first[index], wanted[index][1].path))
        for index in group[1:]:
            whole = _with_whole_name(wanted[index][0])
            candidates = [whole] if _normalise(whole) not in taken else number_places(first[index])
            place = next(place for place in candidates if _normalise(place) not in taken)
            taken.add(_normalise(place))
            first[index] = place
    return first
