"""Camera raw: recognised, so that it is refused with advice. What it shows is decided by whoever develops it."""

from __future__ import annotations

import struct

from c2p_core.io.exif import Damaged, Form, read_directory, read_form

# fmt: off
ENDINGS = frozenset(
    {
        ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".kdc", ".mef",
        ".mos", ".mrw", ".nef", ".nrw", ".orf", ".ori", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf",
        ".srw", ".x3f",
    }
)
# fmt: on
"""Of files that cameras write before anybody has developed them."""
# Fujifilm, Olympus (three forms), Panasonic, Minolta, Sigma, Canon's older ones.
_STARTS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb", b"II\x1a\0\0\0HEAPCCDR")
_CANON_2 = b"CR"  # at byte 8 of what else is a TIFF
_CANON_3 = b"crx "
# TIFF: the tags that only Adobe's DNG has, that says how numbers become colours, and that leads to further pictures.
_DNG_VERSION, _PHOTOMETRIC, _FURTHER = 50706, 262, 330
# A mosaic of colour filters; its colours before they are developed.
_UNDEVELOPED = {32803, 34892}


def has_raw_ending(name: str) -> bool:
    """Whether a file says by its name that it is camera raw."""
    return f".{name.rpartition('.')[2].lower()}" in ENDINGS


def is_raw(data: bytes) -> bool:
    """Whether a file is camera raw, by its content."""
    if data.startswith(_STARTS) or (data[4:8] == b"ftyp" and data[8:12] == _CANON_3):
        return True
    try:
        form, at = read_form(data)
        return data[8:10] == _CANON_2 or _is_undeveloped(data, at, form)
    except (Damaged, struct.error):
        return False


def _is_undeveloped(data: bytes, at: int, form: Form) -> bool:
    """Whether a TIFF's main picture, or one below it, as behind the preview in a Nikon's, is not developed."""
    main = read_directory(data, at, form)
    if main.find(_DNG_VERSION) is not None:
        return True
    directories = [main]
    further = main.find(_FURTHER)
    for place in further.numbers(form) if further else ():
        try:
            directories.append(read_directory(data, place, form))
        except Damaged:
            continue
    kinds = [directory.find(_PHOTOMETRIC) for directory in directories]
    return any(kind is not None and set(kind.numbers(form)) & _UNDEVELOPED for kind in kinds)
