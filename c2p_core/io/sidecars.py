"""XMP sidecars: what programs that sort and develop photos keep beside a photo, for a copy of it.

``photo.jpg.xmp`` (darktable, digiKam) belongs to this file, ``photo.xmp`` (Adobe, Capture One) to every photo of that
name, a camera raw above all. What would be wrong of the protected copy is left out: pictures of the unprotected face,
and settings of Camera Raw, which were applied when the raw was exported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from c2p_core.errors import Message
from c2p_core.io import xmp
from c2p_core.io.atomic_files import cannot_write, put_in_place, write_part
from c2p_core.io.source_type import mark_packet
from c2p_core.photo import Format, Photo

_ENDINGS = (".xmp", ".XMP")
# Bytes; masks of darktable take up to a few millions.
LARGEST = 64 << 20


@dataclass(frozen=True)
class Turn:
    """How a photo's pixels were turned upright, where the copy is stored so.

    Attributes:
        orientation: 1 to 8, as it was applied.
        width, height: of the photo before.
    """

    orientation: int
    width: int
    height: int


@dataclass(frozen=True)
class Carried:
    """What became of a photo's sidecars.

    Attributes:
        there: sidecars that the copy has now; ``made`` are those of them that were not there before.
        warnings: what the user should know.
    """

    there: tuple[Path, ...] = ()
    made: tuple[Path, ...] = ()
    warnings: tuple[Message, ...] = ()


def find_turn(photo: Photo, kind: Format) -> Turn | None:
    """How a copy in a format is turned: one of the same format is stored as the photo is, which gives None."""
    if photo.source is None or photo.source.orientation == 1 or photo.format == kind:
        return None
    width, height = photo.width, photo.height
    orientation = photo.source.orientation
    return Turn(orientation, *((height, width) if orientation >= 5 else (width, height)))


def carry_sidecars(
    source: Path,
    target: Path,
    *,
    personal: bool = True,
    source_type: str | None = None,
    turn: Turn | None = None,
    parts: Path | None = None,
) -> Carried:
    """Copy the sidecars of a photo beside its protected copy; none that is there is ever replaced.

    Args:
        source: the photo.
        target: the copy, in another folder or under another name.
        personal: whether places, names, serial numbers and face regions stay.
        source_type: the term of ``io.source_type`` that the copy has; a sidecar that says another would contradict it.
        turn: see there; None where the copy is stored as the photo is.
        parts: folder for unfinished files, on the target's file system; that of the target when None.
    """
    there: list[Path] = []
    made: list[Path] = []
    warnings: list[Message] = []
    for path, name in _find(source, target):
        place = target.with_name(name)
        try:
            data = path.read_bytes() if path.stat().st_size <= LARGEST else b""
            packet = _prepare(data, path.stem == source.stem, personal, source_type, turn)
            if packet is None:
                warnings.append(Message("parts-not-kept", parts=[Message("part-sidecar", name=path.name)]))
                continue
            if not os.path.lexists(place):
                put_in_place(write_part(parts or place.parent, packet), place)
                made.append(place)
            elif place.read_bytes() != packet:
                raise FileExistsError
            there.append(place)
        except FileExistsError:
            warnings.append(Message("sidecar-exists", path=str(place)))
        except OSError as error:
            why = cannot_write(place, error).fields["why"]
            warnings.append(Message("sidecar-not-written", path=str(place), why=why))
    return Carried(tuple(there), tuple(made), tuple(warnings))


def sidecar_names(name: str) -> list[str]:
    """The names that a sidecar of a photo of this name may have."""
    return [stem + ending for stem in (name, os.path.splitext(name)[0]) for ending in _ENDINGS]  # noqa: PTH122


def _find(source: Path, target: Path) -> Iterator[tuple[Path, str]]:
    """The sidecars of a photo, and the names of their copies."""
    for whole, copy in ((source.name, target.name), (source.stem, target.stem)):
        for ending in _ENDINGS:
            path = source.with_name(whole + ending)
            # A name that is too long for a disk is one that is not there.
            if os.path.isfile(path):  # noqa: PTH113
                yield path, copy + ending
                break  # a disk that ignores case has it under both


def _prepare(data: bytes, of_all: bool, personal: bool, source_type: str | None, turn: Turn | None) -> bytes | None:
    """What is written of a sidecar; None for what is no XMP. ``of_all``: whether it belongs to all of a name."""
    packet, _ = xmp.clean_xmp(data)
    if not packet or b"http://www.w3.org/1999/02/22-rdf-syntax-ns#" not in packet:
        return None
    if of_all:
        packet = xmp.without_camera_raw(packet)
    if not personal:
        packet = xmp.strip_personal(packet)
    if turn is not None:
        packet = xmp.turn_xmp(packet, turn.orientation, turn.width, turn.height)
    marked = mark_packet(packet, source_type) if source_type else None
    return marked[0] if marked else packet
