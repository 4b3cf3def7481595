"""Packs results for the host: the changed rectangle, and a mask of the changed pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing

from c2p_core.api import FaceReport, ProtectResult
from c2p_core.errors import BadRequest
from c2p_core.faces.boxes import box_iou
from c2p_core.photo import Layer, Photo
from c2p_core.worker.protocol import Picture

# Unchanged pixels among changed ones belong to the mask, up to holes of this radius.
_HOLE = 2
_BAND_PIXELS = 1 << 22


def to_photo(picture: Picture) -> Photo:
    """Convert a picture to a photo; clips floats to 0..1 and replaces NaN, both of which hosts may send."""
    return Photo(_clean(picture.pixels), picture.icc)


def _clean(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.dtype != np.float32:
        return pixels
    clean: NDArray[np.float32] = np.nan_to_num(pixels, nan=0.0)
    return clean.clip(0.0, 1.0, out=clean)


def pack_result(
    photo: Picture, result: ProtectResult, selection: Picture | None, client_numbers: Mapping[int, int]
) -> list[Picture]:
    """Pack the result of one area as pictures; [] when nothing changed.

    Args:
        photo: the area as sent by the host.
        result: the protected area.
        selection: of the same bounds; multiplies the mask.
        client_numbers: the client's numbers of faces by their numbers in the result, where they differ.
    """
    protected = result.photo.pixels
    changed = _find_changed_pixels(photo.pixels, protected)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    if not len(rows):
        return []
    changed_area = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    filled = _fill_holes(changed[changed_area])
    x, y = photo.x + int(columns[0]), photo.y + int(rows[0])
    layers = []
    if result.layers:
        photo_mask = np.zeros(changed.shape, bool)
        photo_mask[changed_area] = filled
        layers = [
            _pack_layer(layer, photo, client_numbers.get(layer.face, layer.face))
            for layer in _fill_uncovered(result.layers, photo, photo_mask)
        ]
    else:
        pixels = protected[changed_area]
        if pixels.dtype == np.float32:
            # Unchanged pixels keep the host's values, even those outside a photo's range.
            pixels = np.where(changed[changed_area][..., None], pixels, photo.pixels[changed_area])
        layers = [Picture("protected", x, y, pixels, photo.icc)]
    mask = filled.view(np.uint8)
    mask *= np.uint8(255)
    if selection is not None:
        mask &= selection.pixels[changed_area][..., 0]
    # First, so that a host that knows which pixels changed can discard the others as they arrive.
    return [Picture("mask", x, y, mask[..., None]), *layers]


def _find_changed_pixels(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.bool_]:
    """(H, W) mask of the pixels that differ from the host's after ``to_photo``."""
    changed = np.empty(before.shape[:2], bool)
    for rows in _split_rows(before.shape):
        changed[rows] = (_clean(before[rows]) != after[rows]).any(axis=2)
    return changed


def _fill_holes(changed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A new mask in which small holes among changed pixels are closed."""
    filled = changed.copy()
    reach, side = 2 * _HOLE, 2 * _HOLE + 1
    for rows in _split_rows(changed.shape):
        around = slice(max(0, rows.start - reach), rows.stop + reach)
        closed = binary_closing(changed[around], np.ones((side, side), bool))
        filled[rows] |= closed[rows.start - around.start :][: rows.stop - rows.start]
    return filled


def _split_rows(shape: tuple[int, ...]) -> Iterator[slice]:
    """Split a picture into bands of about ``_BAND_PIXELS``, which bounds the memory of intermediate results."""
    rows = max(1, _BAND_PIXELS // shape[1])
    for top in range(0, shape[0], rows):
        yield slice(top, min(shape[0], top + rows))


def _fill_uncovered(layers: Sequence[Layer], photo: Picture, mask: NDArray[np.bool_]) -> Sequence[Layer]:
    """Fill the bottom layer with the photo's own pixels where the mask is set and no layer covers it.

    This makes the layers as opaque as the single layer over a transparent source.
    """
    if not layers:
        return layers
    uncovered = mask.copy()
    for layer in layers:
        if layer.mode == "normal":
            height, width = layer.pixels.shape[:2]
            uncovered[layer.y : layer.y + height, layer.x : layer.x + width] &= layer.pixels[..., -1] == 0
    bottom = layers[0]
    height, width = bottom.pixels.shape[:2]
    bottom_area = slice(bottom.y, bottom.y + height), slice(bottom.x, bottom.x + width)
    photo_pixels = to_photo(photo).pixels[bottom_area]
    if photo_pixels.shape[2] in (1, 3):
        opaque = 1 if photo_pixels.dtype == np.float32 else np.iinfo(photo_pixels.dtype).max
        photo_pixels = np.concatenate([photo_pixels, np.full_like(photo_pixels[..., :1], opaque)], axis=2)
    pixels = np.where(uncovered[bottom_area][..., None], photo_pixels, bottom.pixels)
    return [replace(bottom, pixels=pixels), *layers[1:]]


def _pack_layer(layer: Layer, photo: Picture, face: int) -> Picture:
    name = "skin" if layer.mode == "normal" else "product"
    about = {"product": layer.name, "face": face, "mode": layer.mode, "space": "encoded"}
    return Picture(name, photo.x + layer.x, photo.y + layer.y, layer.pixels, photo.icc, about)


def is_same_picture(first: Picture, second: Picture) -> bool:
    """Whether two pictures have the same place, profile and pixels."""
    a, b = first.pixels, second.pixels
    if (first.bounds, first.icc, a.dtype, a.shape) != (second.bounds, second.icc, b.dtype, b.shape):
        return False
    return all(np.array_equal(a[rows], b[rows]) for rows in _split_rows(a.shape))


def check_selection(selection: Picture, photo: Picture) -> None:
    """Raise ``BadRequest`` unless a selection is 8-bit grey and of the photo's size."""
    if selection.pixels.dtype != np.uint8 or selection.pixels.shape[2] != 1:
        raise BadRequest("selection-not-grey")
    if selection.bounds[2:] != photo.bounds[2:]:
        raise BadRequest("selection-size-differs")


def update_similarities(face: FaceReport, reports: Sequence[FaceReport]) -> FaceReport:
    """Replace a protected face's similarities by those of the picture with the selection applied."""
    match = max(reports, key=lambda other: box_iou(other.box, face.box), default=None)
    if not face.similarities or match is None or not match.similarities:
        return face
    held_out = {row.recogniser: row.held_out for row in face.similarities}
    rows = tuple(
        replace(row, held_out=held_out[row.recogniser]) for row in match.similarities if row.recogniser in held_out
    )
    return replace(face, similarities=rows)
