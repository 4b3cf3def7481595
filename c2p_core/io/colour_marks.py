"""Colour spaces that files name without a profile: by DCF's file option, by PNG's chunks, by ITU-T H.273's numbers.

What is written keeps the marks as they are; a profile that is made here says how the photo looks, and goes into formats
that have no such mark.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray
from PIL.ExifTags import IFD, Base

from c2p_core.io import exif

Primaries = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

PQ, HLG = 16, 18
_D65 = (0.3127, 0.3290)
_SRGB: Primaries = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_ADOBE: Primaries = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
_ADOBE_GAMMA = 563 / 256
# By H.273's numbers: primaries, all with the white point D65.
_PRIMARIES: dict[int, Primaries] = {
    1: _SRGB,
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
# By H.273's numbers: exponents, 0 for sRGB's own curve, which programs also take for that of video.
_CURVES = {1: 0.0, 4: 2.2, 5: 2.8, 6: 0.0, 8: 1.0, 13: 0.0, 14: 0.0, 15: 0.0}
_ADOBE_BY_DCF = b"R03"
_UNCALIBRATED, _ADOBE_BY_MAKERS = 65_535, 2
# Smaller differences between two curves, or two places in the chromaticity diagram, are invisible.
_SAME_GAMMA, _SAME_PLACE = 0.05, 0.004
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])


def profile_by_exif(block: bytes | None) -> bytes | None:
    """Adobe RGB where an EXIF block says so, as cameras do without writing a profile; else None."""
    space = exif.find(block, int(IFD.Exif), int(Base.ColorSpace))
    option = exif.find(block, int(IFD.Interop), 1)
    if block is None or space is None:
        return None
    form, _ = exif.read_form(block.removeprefix(exif.HEADER))
    (number,) = space.numbers(form)[:1] or (0,)
    by_dcf = number == _UNCALIBRATED and option is not None and option.value[:3] == _ADOBE_BY_DCF
    return make_profile(_ADOBE, _D65, _ADOBE_GAMMA) if by_dcf or number == _ADOBE_BY_MAKERS else None


def profile_by_numbers(primaries: int, transfer: int) -> bytes | None:
    """The profile of a colour space by H.273's numbers, None for sRGB.

    Raises:
        KeyError: the numbers are of a space that photos don't use.
    """
    places, curve = _PRIMARIES[primaries], _CURVES[transfer]
    return None if places == _SRGB and curve == 0 else make_profile(places, _D65, curve)


def profile_by_chunks(gamma: bytes | None, places: bytes | None) -> bytes | None:
    """The profile of a PNG that gives its colours by gAMA and cHRM; None where these are sRGB's or missing."""
    exponent = 0.0
    if gamma and len(gamma) == 4 and (stored := int.from_bytes(gamma, "big")):
        exponent = 100_000 / stored
        if abs(2.2 / exponent - 1) <= _SAME_GAMMA:
            exponent = 0.0
    white, primaries = _D65, _SRGB
    if places and len(places) == 32:
        values = [value / 100_000 for value in struct.unpack(">8L", places)]
        white = (values[0], values[1])
        primaries = ((values[2], values[3]), (values[4], values[5]), (values[6], values[7]))
    near = np.allclose(np.array([white, *primaries]), np.array([_D65, *_SRGB]), atol=_SAME_PLACE)
    return None if near and exponent == 0 else make_profile(primaries, white, exponent)


def make_profile(primaries: Primaries, white: tuple[float, float], gamma: float) -> bytes | None:
    """An ICC profile of version 4 of three primaries and a curve (0: sRGB's); None for impossible primaries."""
    if min(white[1], *(y for _, y in primaries)) <= 0:
        return None
    columns = np.array([_to_xyz(place) for place in primaries]).T
    light = _to_xyz(white)
    try:
        matrix = columns * np.linalg.solve(columns, light)
    except np.linalg.LinAlgError:
        return None
    adapt = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ light)) @ _BRADFORD
    curve = struct.pack(">HHl", 0, 0, round(gamma * 65_536))
    if gamma == 0:
        curve = struct.pack(
            ">HH5l", 3, 0, *(round(v * 65_536) for v in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
        )
    tags: list[tuple[bytes, bytes]] = [
        (b"desc", _text("RGB by its primaries")),
        (b"cprt", _text("No copyright, use freely")),
        (b"wtpt", _xyz(_D50)),
        (b"chad", b"sf32" + bytes(4) + struct.pack(">9l", *(round(v * 65_536) for v in adapt.ravel()))),
        *((name, _xyz(column)) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), (adapt @ matrix).T, strict=True)),
        *((name, b"para" + bytes(4) + curve) for name in (b"rTRC", b"gTRC", b"bTRC")),
    ]
    return _write_profile(tags)


def _to_xyz(place: tuple[float, float]) -> NDArray[np.float64]:
    x, y = place
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _xyz(value: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3l", *(round(part * 65_536) for part in value))


def _text(words: str) -> bytes:
    written = words.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">LL4sLL", 1, 12, b"enUS", len(written), 28) + written


def _write_profile(tags: list[tuple[bytes, bytes]]) -> bytes:
    table, data, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, body in tags:
        table += struct.pack(">4sLL", name, at + len(data), len(body))
        data += body + bytes(-len(body) % 4)
    size = at + len(data)
    created = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    head = struct.pack(">L4sL4s4s4s", size, bytes(4), 0x04300000, b"mntr", b"RGB ", b"XYZ ") + created + b"acsp"
    head += bytes(28) + struct.pack(">3l", *(round(part * 65_536) for part in _D50))
    return head.ljust(128, b"\0") + struct.pack(">L", len(tags)) + table + data
