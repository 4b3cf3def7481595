"""MTCNN: detects faces with five points each, by three small networks on an image pyramid.

Source: K. Zhang et al., Joint face detection and alignment using multi-task cascaded convolutional networks, IEEE SPL
2016. Weights (MIT): facenet-pytorch 2.5.3 (T. Esler), from D. Sandberg's FaceNet project, by
``bundle/convert/mtcnn.py``. Boxes are (x0, y0, x1, y1) in pixels of the picture.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST_FACE = 20
"""Side in pixels of the smallest face that is detected, and of the smallest picture that is accepted."""

_CELL, _STRIDE = 12, 2  # P-Net's receptive field and stride, in pixels
_PYRAMID = 0.709  # scale factor between levels of the image pyramid
_THRESHOLDS = (0.6, 0.7, 0.7)  # thresholds of P-, R- and O-Net
_OVERLAP_IN_SCALE, _OVERLAP = 0.5, 0.7
_BATCH = 512
# More than the largest level at which a photo of 12 megapixels is scanned.
_STRIP_PIXELS = 1 << 20
# The pyramid of a larger picture is computed from successively halved copies: averaging all its pixels for each level
# takes as long as P-Net. A copy is halved again once a level's scale relative to it is at most the second number.
LARGE, _HALVED_AT = 1_650_000, 0.31


class MaxPool(nn.Module):
    """``nn.MaxPool2d(size, 2, ceil_mode=True)`` without gradients; torch's is slow on so few channels."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, ceil((h - size) / 2) + 1, ...), in the memory format of ``x``."""
        is_channels_last = x.is_contiguous(memory_format=torch.channels_last)
        memory_format = torch.channels_last if is_channels_last else torch.contiguous_format
        for axis in (2, 3):
            x = self._pool_axis(x, axis, memory_format)
        return x

    def _pool_axis(self, x: Tensor, axis: int, memory_format: torch.memory_format) -> Tensor:
        count = math.ceil((x.shape[axis] - self._size) / _STRIDE) + 1
        parts = [x[(slice(None),) * axis + (slice(first, None, _STRIDE),)] for first in range(self._size)]
        pooled = parts[0].narrow(axis, 0, count).contiguous(memory_format=memory_format)
        for part in parts[1:]:
            inside = min(count, part.shape[axis])  # the last window may extend beyond the edge
            target = pooled.narrow(axis, 0, inside)
            torch.maximum(target, part.narrow(axis, 0, inside), out=target)
        return pooled


class PNet(nn.Module):
    """(B, 3, h, w) to the probability (B, h', w') of a face per cell, and box offsets (B, 4, h', w')."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 10, 3), nn.PReLU(10), MaxPool(2)),
            *(nn.Conv2d(10, 16, 3), nn.PReLU(16)),
            *(nn.Conv2d(16, 32, 3), nn.PReLU(32)),
        )
        self.face = nn.Conv2d(32, 2, 1)
        self.box = nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.layers(x)
        return self.face(x).softmax(1)[:, 1], self.box(x)


def _columns_first(x: Tensor) -> Tensor:
    """Flatten (B, channels, rows, columns) in MATLAB's order, in which the dense layers were trained."""
    return x.permute(0, 3, 2, 1).flatten(1)


class RNet(nn.Module):
    """(B, 3, 24, 24) to the probability (B,) of a face, and box offsets (B, 4)."""

    side = 24

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 28, 3), nn.PReLU(28), MaxPool(3)),
            *(nn.Conv2d(28, 48, 3), nn.PReLU(48), MaxPool(3)),
            *(nn.Conv2d(48, 64, 2), nn.PReLU(64)),
        )
        self.dense = nn.Sequential(nn.Linear(64 * 3 * 3, 128), nn.PReLU(128))
        self.face = nn.Linear(128, 2)
        self.box = nn.Linear(128, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.dense(_columns_first(self.layers(x)))
        return self.face(x).softmax(1)[:, 1], self.box(x)


class ONet(nn.Module):
    """(B, 3, 48, 48) to the probability (B,) of a face, box offsets (B, 4) and five points (B, 10): all x, then all y,
    as shares of the box."""

    side = 48

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 32, 3), nn.PReLU(32), MaxPool(3)),
            *(nn.Conv2d(32, 64, 3), nn.PReLU(64), MaxPool(3)),
            *(nn.Conv2d(64, 64, 3), nn.PReLU(64), MaxPool(2)),
            *(nn.Conv2d(64, 128, 2), nn.PReLU(128)),
        )
        self.dense = nn.Sequential(nn.Linear(128 * 3 * 3, 256), nn.PReLU(256))
        self.face = nn.Linear(256, 2)
        self.box = nn.Linear(256, 4)
        self.points = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.dense(_columns_first(self.layers(x)))
        return self.face(x).softmax(1)[:, 1], self.box(x), self.points(x)


class Mtcnn(nn.Module):
    """The cascade of the three networks."""

    def __init__(self) -> None:
        super().__init__()
        self.pnet, self.rnet, self.onet = PNet(), RNet(), ONet()

    @torch.no_grad()
    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Detect faces.

        Args:
            picture: (3, rows, columns) float, sRGB 0..255.

        Returns:
            (N, 5, 2) eyes, nose, mouth corners in pixels, image left before right, and (N,) probabilities 0..1.
        """
        picture = picture.contiguous()
        boxes = self._refine(picture, self._propose(picture[None]))
        chips, boxes = _crop_boxes(picture, boxes, ONet.side)
        if not len(boxes):
            return picture.new_zeros(0, 5, 2), picture.new_zeros(0)
        probability, offsets, points = (
            torch.cat(parts) for parts in zip(*map(self.onet, chips.split(_BATCH)), strict=True)
        )
        accepted = probability > _THRESHOLDS[2]
        probability, offsets, points, boxes = (
            probability[accepted],
            offsets[accepted],
            points[accepted],
            boxes[accepted],
        )
        corner, size = boxes[:, None, :2], _inclusive_size(boxes)[:, None]
        points_in_picture = size * points.view(-1, 2, 5).transpose(1, 2) + corner - 1
        kept = suppress(_to_exclusive(_apply_offsets(boxes, offsets)), probability, _OVERLAP, "smaller")
        return points_in_picture[kept], probability[kept]

    def _propose(self, pictures: Tensor) -> Tensor:
        """Run P-Net on all scales: (N, 4) square boxes."""
        rows, columns = pictures.shape[2:]
        boxes, probabilities, offsets = [pictures.new_zeros(0, 4)], [pictures.new_zeros(0)], [pictures.new_zeros(0, 4)]
        scale = _CELL / SMALLEST_FACE
        side = min(rows, columns) * scale
        source, source_scale = pictures, 1.0
        while side >= _CELL:
            if rows * columns > LARGE and scale <= _HALVED_AT * source_scale:
                source, source_scale = F.avg_pool2d(source, 2, ceil_mode=True), source_scale / 2
            small = _resize(source, int(rows * scale + 1), int(columns * scale + 1))
            # Convolutions are faster with the channels last in memory, resizing and cropping with them first.
            probability, offset = self._scan(small.contiguous(memory_format=torch.channels_last))
            is_face = probability[0] >= _THRESHOLDS[0]
            cells = is_face.nonzero().flip(1).to(pictures.dtype)
            corners = [((_STRIDE * cells + reach) / scale).floor() for reach in (1, _CELL)]
            level_boxes = torch.cat(corners, 1)
            kept = suppress(level_boxes, probability[0][is_face], _OVERLAP_IN_SCALE)
            boxes.append(level_boxes[kept])
            probabilities.append(probability[0][is_face][kept])
            offsets.append(offset[0][:, is_face].t()[kept])
            scale, side = scale * _PYRAMID, side * _PYRAMID
        all_boxes = torch.cat(boxes)
        kept = suppress(all_boxes, torch.cat(probabilities), _OVERLAP)
        all_boxes, offset = all_boxes[kept], torch.cat(offsets)[kept]
        size = all_boxes[:, 2:] - all_boxes[:, :2]
        return _make_square(all_boxes + offset * size.repeat(1, 2))

    def _scan(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Run P-Net; on a large picture in strips, because it takes 150 bytes per pixel."""
        rows, columns = pictures.shape[2:]
        # One row of cells for every other row of the picture; the pooling completes the last one.
        count, step = (rows - 1) // _STRIDE - 4, max(1, _STRIP_PIXELS // (_STRIDE * columns))
        if count <= step:
            whole: tuple[Tensor, Tensor] = self.pnet(_normalise(pictures))
            return whole
        probabilities, offsets = [], []
        for top in range(0, count, step):
            end = rows if top + step >= count else _STRIDE * (top + step - 1) + _CELL
            probability, offset = self.pnet(_normalise(pictures[:, :, _STRIDE * top : end]))
            probabilities.append(probability)
            offsets.append(offset)
        return torch.cat(probabilities, 1), torch.cat(offsets, 2)

    def _refine(self, picture: Tensor, boxes: Tensor) -> Tensor:
        """Run R-Net on P-Net's boxes: (M, 4) square boxes."""
        chips, boxes = _crop_boxes(picture, boxes, RNet.side)
        if not len(boxes):
            return boxes
        probability, offsets = (torch.cat(parts) for parts in zip(*map(self.rnet, chips.split(_BATCH)), strict=True))
        accepted = probability > _THRESHOLDS[1]
        boxes, offsets = boxes[accepted], offsets[accepted]
        kept = suppress(boxes, probability[accepted], _OVERLAP)
        return _make_square(_apply_offsets(boxes[kept], offsets[kept]))


def suppress(boxes: Tensor, scores: Tensor, limit: float, relative_to: Literal["union", "smaller"] = "union") -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: (N, 4).
        scores: (N,).
        limit: boxes that overlap a better one by more than this share are dropped.
        relative_to: the denominator of that share, the union of both boxes or the smaller box.

    Returns:
        (K,) int64, indices of the kept boxes, best first.
    """
    rest = scores.argsort(descending=True, stable=True)
    # In NumPy: on a few numbers, most of an operation's time is its call.
    numbers, corners = rest.numpy(), boxes[rest].numpy()
    area = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    kept = []
    while len(numbers):
        kept.append(numbers[0])
        overlap = np.minimum(corners[0, 2:], corners[1:, 2:]) - np.maximum(corners[0, :2], corners[1:, :2])
        overlap = np.maximum(overlap, 0).prod(1)
        reference_area = area[0] + area[1:] - overlap if relative_to == "union" else np.minimum(area[0], area[1:])
        remaining = overlap <= limit * reference_area
        numbers, corners, area = numbers[1:][remaining], corners[1:][remaining], area[1:][remaining]
    return torch.from_numpy(np.array(kept, np.int64))


def _normalise(pictures: Tensor) -> Tensor:
    return (pictures - 127.5) * 0.0078125


def _resize(pictures: Tensor, rows: int, columns: int) -> Tensor:
    return F.interpolate(pictures, (rows, columns), mode="area")


def _crop_boxes(picture: Tensor, boxes: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Crop the boxes to (N, 3, side, side) network inputs; boxes outside the picture are dropped from both results."""
    rows, columns = picture.shape[1:]
    chips, inside = [], []
    for number, (x0, y0, x1, y1) in enumerate(boxes.trunc().int().tolist()):
        cut = picture[:, max(y0, 1) - 1 : min(y1, rows), max(x0, 1) - 1 : min(x1, columns)]
        if cut.numel():
            chips.append(_resize(cut[None], side, side))
            inside.append(number)
    if not chips:
        return picture.new_zeros(0, 3, side, side), boxes[:0]
    return _normalise(torch.cat(chips)), boxes[inside]


def _inclusive_size(boxes: Tensor) -> Tensor:
    """(N, 2) width and height of boxes with inclusive corners."""
    return boxes[:, 2:] - boxes[:, :2] + 1


def _to_exclusive(boxes: Tensor) -> Tensor:
    """Turn boxes with inclusive corners into boxes with exclusive ones."""
    return torch.cat([boxes[:, :2], boxes[:, 2:] + 1], 1)


def _apply_offsets(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Move each side of the boxes by a share of the box's size."""
    return boxes + offsets * _inclusive_size(boxes).repeat(1, 2)


def _make_square(boxes: Tensor) -> Tensor:
    """Make boxes square, with the same centres and the longer side."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.amax(1, keepdim=True)
    corner = boxes[:, :2] + size * 0.5 - side * 0.5
    return torch.cat([corner, corner + side], 1)
