"""Colour spaces that files declare without a profile: by DCF's option files, PNG's chunks or ITU-T H.273's numbers.

Protected copies keep these marks unchanged; the profiles made here are for conversion, and for formats that have no
such mark.
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
# By H.273's numbers: exponents; 0 for sRGB's own curve, which programs also use for that of video.
_CURVES = {1: 0.0, 4: 2.2, 5: 2.8, 6: 0.0, 8: 1.0, 13: 0.0, 14: 0.0, 15: 0.0}
_ADOBE_BY_DCF = b"R03"
_UNCALIBRATED, _ADOBE_BY_MAKERS = 65_535, 2
# Smaller differences between two curves, or two chromaticities, are invisible.
_SAME_GAMMA, _SAME_CHROMATICITY = 0.05, 0.004
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])


def profile_from_exif(block: bytes | None) -> bytes | None:
    """Adobe RGB where an EXIF block declares it, as cameras do instead of writing a profile; else None."""
    space = exif.find(block, int(IFD.Exif), int(Base.ColorSpace))
    option = exif.find(block, int(IFD.Interop), 1)
    if block is None or space is None:
        return None
    form, _ = exif.read_form(block.removeprefix(exif.HEADER))
    (number,) = space.numbers(form)[:1] or (0,)
    by_dcf = number == _UNCALIBRATED and option is not None and option.value[:3] == _ADOBE_BY_DCF
    return make_profile(_ADOBE, _D65, _ADOBE_GAMMA) if by_dcf or number == _ADOBE_BY_MAKERS else None


def profile_from_numbers(primaries: int, transfer: int) -> bytes | None:
    """The profile of a colour space by H.273's numbers, None for sRGB.

    Raises:
        KeyError: no photo uses this colour space.
    """
    chromaticities, curve = _PRIMARIES[primaries], _CURVES[transfer]
    return None if chromaticities == _SRGB and curve == 0 else make_profile(chromaticities, _D65, curve)


def profile_from_chunks(gamma: bytes | None, chromaticities: bytes | None) -> bytes | None:
    """The profile of a PNG that declares its colours by gAMA and cHRM; None where these are sRGB's or missing."""
    exponent = 0.0
    if gamma and len(gamma) == 4 and (inverse := int.from_bytes(gamma, "big")):
        exponent = 100_000 / inverse
        if abs(2.2 / exponent - 1) <= _SAME_GAMMA:
            exponent = 0.0
    white, primaries = _D65, _SRGB
    if chromaticities and len(chromaticities) == 32:
        values = [value / 100_000 for value in struct.unpack(">8L", chromaticities)]
        white = (values[0], values[1])
        primaries = ((values[2], values[3]), (values[4], values[5]), (values[6], values[7]))
    is_srgb = np.allclose(np.array([white, *primaries]), np.array([_D65, *_SRGB]), atol=_SAME_CHROMATICITY)
    return None if is_srgb and exponent == 0 else make_profile(primaries, white, exponent)


def make_profile(primaries: Primaries, white: tuple[float, float], gamma: float) -> bytes | None:
    """Make an ICC profile, version 4, from three primaries and a curve (0: sRGB's); None for impossible primaries."""
    if min(white[1], *(y for _, y in primaries)) <= 0:
        return None
    columns = np.array([_to_xyz(chromaticity) for chromaticity in primaries]).T
    white_xyz = _to_xyz(white)
    try:
        matrix = columns * np.linalg.solve(columns, white_xyz)
    except np.linalg.LinAlgError:
        return None
    adapt = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white_xyz)) @ _BRADFORD
    curve = struct.pack(">HHl", 0, 0, round(gamma * 65_536))
    if gamma == 0:
        curve = struct.pack(
            ">HH5l", 3, 0, *(round(value * 65_536) for value in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
        )
    tags: list[tuple[bytes, bytes]] = [
        (b"desc", _make_text("RGB by its primaries")),
        (b"cprt", _make_text("No copyright, use freely")),
        (b"wtpt", _make_xyz(_D50)),
        (b"chad", b"sf32" + bytes(4) + struct.pack(">9l", *(round(value * 65_536) for value in adapt.ravel()))),
        *(
            (name, _make_xyz(column))
            for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), (adapt @ matrix).T, strict=True)
        ),
        *((name, b"para" + bytes(4) + curve) for name in (b"rTRC", b"gTRC", b"bTRC")),
    ]
    return _write_profile(tags)


def _to_xyz(chromaticity: tuple[float, float]) -> NDArray[np.float64]:
    x, y = chromaticity
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _make_xyz(value: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3l", *(round(part * 65_536) for part in value))


def _make_text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">LL4sLL", 1, 12, b"enUS", len(encoded), 28) + encoded


def _write_profile(tags: list[tuple[bytes, bytes]]) -> bytes:
    table, data, data_start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, body in tags:
        table += struct.pack(">4sLL", name, data_start + len(data), len(body))
        data += body + bytes(-len(body) % 4)
    size = data_start + len(data)
    creation_date = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    head = struct.pack(">L4sL4s4s4s", size, bytes(4), 0x04300000, b"mntr", b"RGB ", b"XYZ ") + creation_date + b"acsp"
    head += bytes(28) + struct.pack(">3l", *(round(part * 65_536) for part in _D50))
    return head.ljust(128, b"\0") + struct.pack(">L", len(tags)) + table + data
