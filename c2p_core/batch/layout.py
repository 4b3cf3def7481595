"""Names the results of a batch: like the photos, in the same folders, and no two alike."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from c2p_core.batch.sources import ENDINGS, Source, Sources
from c2p_core.batch.urls import is_url, make_relative_name
from c2p_core.io.atomic_files import fit_name

# As in `io.photo_files.ending_for`, which would load the image libraries only to name files.
_OTHER_ENDINGS = {".mpo": ".jpg", ".heic": ".jpg", ".heif": ".jpg", ".hif": ".png"}


@dataclass(frozen=True, slots=True)
class Item:
    """One photo of a batch.

    Attributes:
        number: from 0, in the order of the plan.
        path: of the photo, absolute.
        place: of the result, relative to the folder of results, with the separators of this system.
        size, mtime_ns: of the photo when it was listed; -1 where unknown.
    """

    number: int
    path: str
    place: str
    size: int = -1
    mtime_ns: int = -1


def plan_items(sources: Sources) -> list[Item]:
    """Give every photo its place.

    If two photos would get the same name (a.jpg and a.mpo; A.jpg and a.jpg where a disk may ignore case), the one that
    has it already keeps it; others get their full name before the ending, and then a number.
    """
    places = _make_distinct([(_make_relative(source.path, sources.base), source) for source in sources.files])
    return [
        Item(number, source.path, place, source.size, source.mtime_ns)
        for number, (place, source) in enumerate(zip(places, sources.files, strict=True))
    ]


def choose_place(path: str, base: str) -> str:
    """The place of a single photo, such as one from a watched folder."""
    return _replace_ending(_make_relative(path, base))


def choose_place_with_full_name(path: str, base: str) -> str:
    """Its alternative place, in case the first one is taken."""
    return _use_full_name(_make_relative(path, base))


def _make_relative(path: str, base: str) -> str:
    if is_url(path):
        return make_relative_name(path, base).replace("/", os.sep)
    if base:
        return os.path.relpath(path, base)
    # Photos on several drives: the drive becomes a folder.
    drive, rest = os.path.splitdrive(path)
    return os.path.join(drive.strip(":\\/").replace("\\", "_") or "files", rest.lstrip("\\/"))


def _replace_ending(place: str) -> str:
    folder, name = os.path.split(place)
    stem, ending = os.path.splitext(name)
    if ending.lower() not in ENDINGS:
        stem, ending = name, ".png"
    return os.path.join(folder, fit_name(stem, _OTHER_ENDINGS.get(ending.lower(), ending)))


def _use_full_name(place: str) -> str:
    folder, name = os.path.split(place)
    ending = os.path.splitext(_replace_ending(place))[1]
    return os.path.join(folder, fit_name(name, ending))


def number_places(place: str) -> Iterator[str]:
    """Endlessly yield alternatives to a place: with the numbers from 2 on before the ending."""
    folder, name = os.path.split(place)
    stem, ending = os.path.splitext(name)
    number = 2
    while True:
        yield os.path.join(folder, fit_name(stem, f"-{number}{ending}"))
        number += 1


def _normalise(place: str) -> str:
    """A key that is equal for places that are one file on a disk that ignores case or Unicode normalisation."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", place).casefold())


def _make_distinct(wanted: Sequence[tuple[str, Source]]) -> list[str]:
    places = [_replace_ending(relative) for relative, _ in wanted]
    indices_by_key: defaultdict[str, list[int]] = defaultdict(list)
    for index, place in enumerate(places):
        indices_by_key[_normalise(place)].append(index)
    taken = set(indices_by_key)
    for group in indices_by_key.values():
        if len(group) == 1:
            continue
        # By name, so that the order of the arguments changes nothing; a photo that has the name already comes first.
        group.sort(key=lambda index: (wanted[index][0] != places[index], wanted[index][1].path))
        for index in group[1:]:
            full_name = _use_full_name(wanted[index][0])
            candidates = [full_name] if _normalise(full_name) not in taken else number_places(places[index])
            place = next(place for place in candidates if _normalise(place) not in taken)
            taken.add(_normalise(place))
            places[index] = place
    return places
