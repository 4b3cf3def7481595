"""Shows and measures a finished search at any amount fast enough to follow a slider.

It draws the photo reduced to the size of the view. Slow work is done only once: reducing the photo, painting the
products, embedding the unchanged face. ``direction.apply_direction`` makes the full result; no difference between the
two is visible.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from c2p_core import verify
from c2p_core.api import CancelToken, Face, FaceReport
from c2p_core.direction import Direction, FaceChange
from c2p_core.faces import find_again, refine_face
from c2p_core.faces.align import CANVAS, CANVAS_EYE_DISTANCE, Alignment
from c2p_core.faces.amounts import Amounts
from c2p_core.faces.canvas import Change, make_unpainted_change
from c2p_core.faces.paste import blend_selection, canvas_box, paste
from c2p_core.faces.view import View
from c2p_core.io.colour_profiles import to_srgb
from c2p_core.io.rgb8 import Rgb8, as_bytes
from c2p_core.io.vips import to_vips
from c2p_core.photo import Photo

Area = tuple[int, int, int, int]
"""x, y, width and height in pixels of the photo."""

_MAX_SAMPLES = 4  # of the painted products per canvas pixel, as in ``faces.paste``
# Recognisers see 256 canvas pixels at most; landmarks are fitted at twice that resolution.
_MEASURED_EYE_DISTANCE = 2 * CANVAS_EYE_DISTANCE
# Margin around the canvas within which a face is detected again, in eye distances.
_MARGIN = 0.5


@dataclass(frozen=True)
class _Part:
    """A part of the photo, reduced.

    Attributes:
        area: which part of the photo.
        size: its width and height.
        photo: its pixels.
        before: the same as (height, width, 3) sRGB bytes.
        selection: (height, width, 1) uint8, how visible changes are; None for fully.
    """

    area: Area
    size: tuple[int, int]
    photo: Photo
    before: Rgb8
    selection: NDArray[np.uint8] | None

    @property
    def scale(self) -> float:
        """Pixels of the part per pixel of the photo."""
        return self.size[0] / self.area[2]


@dataclass(frozen=True)
class _PaintedDensity:
    """The densities of a change on the canvas, with the products painted once.

    Attributes:
        light, makeup: (3, side, side).
    """

    light: Tensor
    makeup: Tensor


@dataclass(frozen=True)
class _Measurement:
    """A face for ``Sketch.measure``: its part of the photo, the face in pixels of the part, and the unchanged face."""

    part: _Part
    face: Face
    original: Face
    unchanged: verify.Original


class Sketch:
    """The finished search of one photo; not thread-safe."""

    def __init__(self, direction: Direction, selection: NDArray[np.uint8] | None = None) -> None:
        """``selection``: (H, W, 1) uint8, how visible changes of the photo are; None for fully."""
        self.direction = direction
        self._selection = selection
        self._part: _Part | None = None
        self._painted: dict[tuple[int, int], _PaintedDensity] = {}
        self._measured: dict[int, _Measurement] = {}

    def use(self, direction: Direction) -> None:
        """Replace the search by the same one with other recognisers or another device."""
        if direction is not self.direction:
            self.direction = direction
            self._measured.clear()

    def sizes(self) -> dict[int, int]:
        """Approximate memory in bytes of the objects held, by ``id``, because several sketches may share some."""
        photos = [self.direction.request.photo, self.direction.request.original]
        parts = [self._part, *(measured.part for measured in self._measured.values())]
        photos += [part.photo for part in parts if part is not None]
        tensors = [tensor for painted in self._painted.values() for tensor in (painted.light, painted.makeup)]
        for face_change in self.direction.changes:
            tensors += [face_change.change.density, face_change.change.maps, face_change.subject.canvas.pixels]
        pixels = [photo.pixels for photo in photos if photo is not None]
        sizes = {id(array): array.nbytes for array in pixels} | {id(tensor): tensor.nbytes for tensor in tensors}
        # The closure of ``paint`` holds the maps too.
        return sizes | {
            id(face_change.change.maps): 2 * face_change.change.maps.nbytes for face_change in self.direction.changes
        }

    def render(self, area: Area, size: tuple[int, int], amounts: Amounts) -> tuple[Rgb8, Rgb8]:
        """Draw a part of the photo, before and after.

        Args:
            area: lies within the photo.
            size: width and height of the pictures, at most those of the area.
            amounts: how much of the change is applied.

        Returns:
            two (height, width, 3) pictures.
        """
        part = self._part
        if part is None or (part.area, part.size) != (area, size):
            part = self._part = self._reduce(area, size)
        after = self._paste(part, amounts)
        return part.before, part.before if after is part.photo else as_bytes(to_srgb(after))

    def measure(self, amounts: Amounts, cancel: CancelToken | None = None) -> tuple[FaceReport, ...]:
        """Measure every protected face with the recognisers.

        Measures the photo reduced to what recognisers see; ``apply_direction`` measures it at full size.

        Raises:
            Cancelled: ``cancel`` was set.
        """
        return tuple(
            self._measure(index, amounts, cancel or CancelToken()) for index in range(len(self.direction.changes))
        )

    def _measure(self, index: int, amounts: Amounts, cancel: CancelToken) -> FaceReport:
        direction, face_change = self.direction, self.direction.changes[index]
        cancel.raise_if_cancelled()
        if index not in self._measured:
            self._measured[index] = self._prepare(face_change)
        measurement = self._measured[index]
        cancel.raise_if_cancelled()
        part_after = View(self._paste(measurement.part, amounts))
        detected = find_again(part_after, measurement.original, direction.store) or refine_face(
            part_after, measurement.face, direction.store
        )
        cancel.raise_if_cancelled()
        similarities = verify.compare_with(
            measurement.unchanged,
            verify.crop_face(part_after, detected),
            direction.recognisers,
            direction.held_out,
            direction.device,
        )
        face = face_change.subject.face
        return FaceReport(
            face.number, face.box, face.eye_distance, None, similarities, face_change.steps, face_change.seconds
        )

    def _prepare(self, face_change: FaceChange) -> _Measurement:
        direction, subject = self.direction, face_change.subject
        photo, face = direction.request.photo, subject.face
        x0, y0, x1, y1 = canvas_box(photo.pixels, face_change.alignment)
        margin = round(_MARGIN * face.eye_distance)
        x0, y0 = max(0, x0 - margin), max(0, y0 - margin)
        width, height = min(photo.width, x1 + margin) - x0, min(photo.height, y1 + margin) - y0
        scale = min(1.0, _MEASURED_EYE_DISTANCE / face.eye_distance)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        part = self._reduce((x0, y0, width, height), size)
        unchanged = verify.embed_original(
            subject.original_canvas, direction.recognisers, direction.device, face_change.references
        )
        return _Measurement(part, _move(face, part), _move(subject.original_face, part), unchanged)

    def _reduce(self, area: Area, size: tuple[int, int]) -> _Part:
        photo = self.direction.request.photo
        part = Photo(_reduce(photo.pixels, area, size), photo.icc)
        selection = None if self._selection is None else _reduce(self._selection, area, size)
        return _Part(area, size, part, as_bytes(to_srgb(part)), selection)

    def _paste(self, part: _Part, amounts: Amounts) -> Photo:
        """The part with the changes applied; the same object if there are none."""
        shape, light, makeup = amounts.factors()
        changes: list[tuple[Alignment, Change]] = []
        for index, face_change in enumerate(self.direction.changes):
            alignment = _scale_alignment(face_change.alignment, part)
            x0, y0, x1, y1 = canvas_box(part.photo.pixels, alignment)
            if x1 <= x0 or y1 <= y0:
                continue
            painted = self._paint(index, int(np.clip(np.ceil(alignment.scale), 1, _MAX_SAMPLES)))
            density = light * painted.light + makeup * painted.makeup
            displacement, toned = shape * face_change.change.displacement, face_change.change.toned
            changes.append((alignment, make_unpainted_change(displacement, density, toned)))
        if not changes:
            return part.photo
        after = paste(part.photo, changes)
        if part.selection is None:
            return after
        return after.with_pixels(blend_selection(part.photo.pixels, after.pixels, part.selection))

    def _paint(self, index: int, samples: int) -> _PaintedDensity:
        key = index, samples
        if key not in self._painted:
            change, side = self.direction.changes[index].change, CANVAS * samples
            light, maps = (_enlarge(field, side) for field in (change.density, change.maps))
            painted = torch.cat([change.paint(strip).sum(0) for strip in maps.split(CANVAS, 1)], 1)
            self._painted[key] = _PaintedDensity(light, painted)
        return self._painted[key]


def show_photo(photo: Photo, limit: tuple[int, int]) -> Rgb8:
    """A whole photo as sRGB, reduced to fit into a width and height."""
    scale = min(1.0, limit[0] / photo.width, limit[1] / photo.height)
    size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    pixels = _reduce(photo.pixels, (0, 0, photo.width, photo.height), size)
    return as_bytes(to_srgb(Photo(pixels, photo.icc)))


def _enlarge(field: Tensor, side: int) -> Tensor:
    """Resample a (C, n, n) field over the canvas to (C, side, side)."""
    if field.shape[-1] == side:
        return field
    return F.interpolate(field[None], (side, side), mode="bicubic", align_corners=False)[0]


def _reduce(pixels: NDArray[Any], area: Area, size: tuple[int, int]) -> NDArray[Any]:
    """A part of (H, W, channels) pixels at another size, antialiased."""
    x, y, width, height = area
    part = np.ascontiguousarray(pixels[y : y + height, x : x + width])
    if size == (width, height):
        return part
    image = to_vips(Photo(part)).resize(size[0] / width, vscale=size[1] / height, kernel="linear")
    # libvips may round the size differently.
    image = image.embed(0, 0, *size, extend="copy")
    return np.frombuffer(image.write_to_memory(), part.dtype).reshape(size[1], size[0], part.shape[2])


def _scale_alignment(alignment: Alignment, part: _Part) -> Alignment:
    """The alignment of a face of the photo, in pixels of a part."""
    x, y, width, height = part.area
    scale = np.array([part.size[0] / width, part.size[1] / height])[:, None]
    return Alignment((alignment.to_photo - np.array([[0, 0, x], [0, 0, y]])) * scale)


def _move(face: Face, part: _Part) -> Face:
    """A face of the photo, in pixels of a part."""
    corner = np.array(part.area[:2])
    mesh = ((face.mesh - corner) * part.scale).astype(np.float32)
    x0, y0, x1, y1 = ((value - offset) * part.scale for value, offset in zip(face.box, (*corner, *corner), strict=True))
    return replace(face, mesh=mesh, box=(x0, y0, x1, y1), eye_distance=face.eye_distance * part.scale)
