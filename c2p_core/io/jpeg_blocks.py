"""Changes only the blocks of a JPEG in which pixels differ, and keeps the coefficients of all others.

Decoding a JPEG and encoding it again changes every pixel a little. Here only the difference of two pictures goes
through the cosine transform and is added to the coefficients of the file.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2p_core.errors import Malformed, Message, get_reason
from c2p_core.io import jpeg_file

AVAILABLE = importlib.util.find_spec("jpegio") is not None
"""Whether the library that reads and writes coefficients is installed; it has no wheels for some machines."""

_SIDE = 8
_GREY, _RGB, _YCBCR = 1, 2, 3
# Coefficients of a JPEG of 8 bits have at most 10 bits and a sign.
_LARGEST = 1023
# ITU-R BT.601, as in JFIF; differences have no offset.
_TO_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]], np.float32
)


class Unsuitable(Exception):
    """The coefficients can't be changed; ``why`` is the reason."""

    def __init__(self, why: Message) -> None:
        super().__init__(why.code)
        self.why = why


def change_blocks(file: jpeg_file.JpegFile, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> jpeg_file.JpegFile:
    """Change a file where two versions of its picture differ.

    Args:
        file: the original.
        before: (height, width, 1 or 3) its pixels as stored, not turned upright.
        after: the pixels that it should have.

    Returns:
        A file without metadata, with the quantisation and the subsampling of the original.

    Raises:
        Unsuitable: the library is missing, or can't work on this kind of JPEG.
    """
    if not AVAILABLE:
        raise Unsuitable(Message("jpeg-library-missing"))
    import jpegio  # type: ignore[import-not-found,import-untyped,unused-ignore]

    with tempfile.TemporaryDirectory(prefix="c2p-") as folder:
        path = Path(folder, "a.jpg")
        path.write_bytes(file.strip_metadata())
        try:
            coefficients = jpegio.read(path)
            _add_change(coefficients, jpeg_file.list_quantisation_tables(file), before, after)
            coefficients.optimize_coding = 1
            jpegio.write(coefficients, path)
            return jpeg_file.parse(path.read_bytes())
        except (RuntimeError, OSError, ValueError) as error:
            raise Unsuitable(Message("jpeg-blocks-unusable", reason=get_reason(error))) from error


def _add_change(coefficients: Any, tables: list[int], before: NDArray[np.uint8], after: NDArray[np.uint8]) -> None:
    if before.shape != after.shape:
        raise Malformed("jpeg-pictures-differ")
    components = coefficients.comp_info
    colours = coefficients.jpeg_color_space
    if coefficients.data_precision != 8 or colours not in (_GREY, _RGB, _YCBCR) or len(components) != before.shape[2]:
        raise Malformed("jpeg-colours-unusual")
    factors = [(component.h_samp_factor, component.v_samp_factor) for component in components]
    if len(components) == 1:
        factors = [(1, 1)]  # those of a single component have no meaning
    max_horizontal, max_vertical = (max(numbers) for numbers in zip(*factors, strict=True))
    if any(max_horizontal % across or max_vertical % down for across, down in factors):
        raise Malformed("jpeg-subsampling-unusual")
    steps = [coefficients.quant_tables[tables.index(component.quant_tbl_no)] for component in components]
    changed_rows = np.flatnonzero((before != after).any(axis=(1, 2)))
    unit = (max_vertical * _SIDE, max_horizontal * _SIDE)
    for row in np.unique(changed_rows // unit[0]):
        top, bottom = row * unit[0], min((row + 1) * unit[0], before.shape[0])
        changed_columns = np.flatnonzero((before[top:bottom] != after[top:bottom]).any(axis=(0, 2)))
        left = changed_columns[0] // unit[1] * unit[1]
        right = min((changed_columns[-1] // unit[1] + 1) * unit[1], before.shape[1])
        change = after[top:bottom, left:right].astype(np.float32) - before[top:bottom, left:right]
        # Repeat the pixels at the edges up to whole units, as encoders do.
        change = np.pad(change, [(0, -change.shape[0] % unit[0]), (0, -change.shape[1] % unit[1]), (0, 0)], "edge")
        if colours == _YCBCR:
            change = change @ _TO_YCBCR.T
        for index, (horizontal, vertical) in enumerate(factors):
            down, across = max_vertical // vertical, max_horizontal // horizontal
            plane = change[..., index]
            plane = plane.reshape(plane.shape[0] // down, down, plane.shape[1] // across, across).mean(axis=(1, 3))
            delta = np.rint(_transform(plane) / np.tile(steps[index], np.array(plane.shape) // _SIDE)).astype(np.int32)
            stored = coefficients.coef_arrays[index][top // down :, left // across :]
            stored = stored[: delta.shape[0], : delta.shape[1]]
            delta = delta[: stored.shape[0], : stored.shape[1]]
            stored[...] = np.where(delta, np.clip(stored + delta, -_LARGEST, _LARGEST), stored)


def _transform(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cosine transform of every block of a plane, at the position of the block."""
    waves = np.arange(_SIDE)
    basis = np.cos(np.outer(waves, 2 * waves + 1) * np.pi / (2 * _SIDE)) * np.sqrt(2 / _SIDE)
    basis[0] = np.sqrt(1 / _SIDE)
    blocks = plane.reshape(plane.shape[0] // _SIDE, _SIDE, plane.shape[1] // _SIDE, _SIDE)
    basis = basis.astype(np.float32)
    transformed = np.einsum("ui,aibj,vj->aubv", basis, blocks, basis, optimize=True)
    return np.asarray(transformed.reshape(plane.shape), np.float32)
