"""Recognises camera raw, which is refused with advice: its look is decided when it is developed."""

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
"""File extensions of camera raw."""
# Fujifilm, Olympus (three forms), Panasonic, Minolta, Sigma, older Canon.
_STARTS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb", b"II\x1a\0\0\0HEAPCCDR")
_CANON_2 = b"CR"  # at byte 8 of an otherwise regular TIFF
_CANON_3 = b"crx "
# TIFF: the tags DNGVersion, PhotometricInterpretation and SubIFDs.
_DNG_VERSION, _PHOTOMETRIC, _FURTHER = 50706, 262, 330
# PhotometricInterpretation: colour filter array, and linear raw.
_UNDEVELOPED = {32803, 34892}


def has_raw_ending(name: str) -> bool:
    """Whether a file's name has an extension of camera raw."""
    return f".{name.rpartition('.')[2].lower()}" in ENDINGS


def is_raw(data: bytes) -> bool:
    """Whether a file is camera raw, by its content."""
    if data.startswith(_STARTS) or (data[4:8] == b"ftyp" and data[8:12] == _CANON_3):
        return True
    try:
        form, offset = read_form(data)
        return data[8:10] == _CANON_2 or _is_undeveloped(data, offset, form)
    except (Damaged, struct.error):
        return False


def _is_undeveloped(data: bytes, offset: int, form: Form) -> bool:
    """Whether a TIFF's main picture or one of its sub-pictures, as in Nikon's files, is not developed."""
    main = read_directory(data, offset, form)
    if main.find(_DNG_VERSION) is not None:
        return True
    directories = [main]
    sub_ifds = main.find(_FURTHER)
    for sub_offset in sub_ifds.numbers(form) if sub_ifds else ():
        try:
            directories.append(read_directory(data, sub_offset, form))
        except Damaged:
            continue
    photometrics = [directory.find(_PHOTOMETRIC) for directory in directories]
    return any(
        photometric is not None and set(photometric.numbers(form)) & _UNDEVELOPED for photometric in photometrics
    )
