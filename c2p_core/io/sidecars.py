"""Copies XMP sidecars, in which programs that sort and develop photos keep metadata beside a photo.

``photo.jpg.xmp`` (darktable, digiKam) belongs to this file, ``photo.xmp`` (Adobe, Capture One) to every photo of that
name, above all a camera raw. Contents that would be wrong for the protected copy are left out: pictures of the
unprotected face, and settings of Camera Raw, which were applied when the raw was exported.
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
# Bytes; darktable's masks take up to a few megabytes.
LARGEST = 64 << 20


@dataclass(frozen=True)
class Turn:
    """How a photo's pixels were turned upright, for a copy that is stored upright.

    Attributes:
        orientation: 1 to 8, as it was applied.
        width, height: of the photo before it was turned.
    """

    orientation: int
    width: int
    height: int


@dataclass(frozen=True)
class CopiedSidecars:
    """The sidecars of a copy.

    Attributes:
        present: all sidecars that the copy has now.
        created: those of them that did not exist before.
        warnings: messages for the user.
    """

    present: tuple[Path, ...] = ()
    created: tuple[Path, ...] = ()
    warnings: tuple[Message, ...] = ()


def find_turn(photo: Photo, kind: Format) -> Turn | None:
    """How a copy in a format is turned; None for a copy in the photo's format, which keeps the stored orientation."""
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
) -> CopiedSidecars:
    """Copy the sidecars of a photo beside its protected copy; existing ones are never replaced.

    Args:
        source: the photo.
        target: the copy, in another folder or under another name.
        personal: whether places, names, serial numbers and face regions stay.
        source_type: the term of ``io.source_type`` that the copy has; a sidecar with another would contradict it.
        turn: how the copy is turned (``find_turn``).
        parts: folder for unfinished files, on the target's file system; the target's folder when None.
    """
    present: list[Path] = []
    created: list[Path] = []
    warnings: list[Message] = []
    for path, name in _find_sidecars(source, target):
        copy = target.with_name(name)
        try:
            data = path.read_bytes() if path.stat().st_size <= LARGEST else b""
            packet = _prepare(data, path.stem == source.stem, personal, source_type, turn)
            if packet is None:
                warnings.append(Message("parts-not-kept", parts=[Message("part-sidecar", name=path.name)]))
                continue
            if not os.path.lexists(copy):
                put_in_place(write_part(parts or copy.parent, packet), copy)
                created.append(copy)
            elif copy.read_bytes() != packet:
                raise FileExistsError
            present.append(copy)
        except FileExistsError:
            warnings.append(Message("sidecar-exists", path=str(copy)))
        except OSError as error:
            why = cannot_write(copy, error).fields["why"]
            warnings.append(Message("sidecar-not-written", path=str(copy), why=why))
    return CopiedSidecars(tuple(present), tuple(created), tuple(warnings))


def list_sidecar_names(name: str) -> list[str]:
    """The names that a sidecar of a photo of this name may have."""
    return [stem + ending for stem in (name, os.path.splitext(name)[0]) for ending in _ENDINGS]  # noqa: PTH122


def _find_sidecars(source: Path, target: Path) -> Iterator[tuple[Path, str]]:
    """The sidecars of a photo, and the names of their copies."""
    for name, copy_name in ((source.name, target.name), (source.stem, target.stem)):
        for ending in _ENDINGS:
            path = source.with_name(name + ending)
            # A name that is too long for the disk can't exist.
            if os.path.isfile(path):  # noqa: PTH113
                yield path, copy_name + ending
                break  # a case-insensitive disk would yield it twice


def _prepare(data: bytes, shared: bool, personal: bool, source_type: str | None, turn: Turn | None) -> bytes | None:
    """Adapt a sidecar to the copy; None if it is not XMP. ``shared``: whether it belongs to all photos of a name."""
    packet, _ = xmp.clean_xmp(data)
    if not packet or b"http://www.w3.org/1999/02/22-rdf-syntax-ns#" not in packet:
        return None
    if shared:
        packet = xmp.strip_camera_raw(packet)
    if not personal:
        packet = xmp.strip_personal(packet)
    if turn is not None:
        packet = xmp.turn_xmp(packet, turn.orientation, turn.width, turn.height)
    result = mark_packet(packet, source_type) if source_type else None
    return result[0] if result else packet
