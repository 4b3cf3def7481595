"""MTCNN: proposes faces with five points each, from a pyramid of pictures through three small networks.

Source: K. Zhang et al., Joint face detection and alignment using multi-task cascaded convolutional networks, IEEE SPL
2016. Weights (MIT): facenet-pytorch 2.5.3 (T. Esler), from D. Sandberg's FaceNet project, by
``bundle/convert/mtcnn.py``. Boxes are (x0, y0, x1, y1) in pixels of the picture.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST_FACE = 20
"""Side in pixels of the smallest face that is found, and of the smallest picture in which one is."""

_CELL, _STRIDE = 12, 2  # of P-Net: the side of what it looks at, and from there to its neighbour
_PYRAMID = 0.709  # each picture's side as a share of the one before
_CERTAINTIES = (0.6, 0.7, 0.7)  # of P-, R- and O-Net, for a box to go on
_OVERLAP_IN_SCALE, _OVERLAP = 0.5, 0.7
_BATCH = 512


class PNet(nn.Module):
    """(B, 3, h, w) to certainties (B, h', w') that cells hold faces and the offsets (B, 4, h', w') of their boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 10, 3), nn.PReLU(10), nn.MaxPool2d(2, 2, ceil_mode=True)),
            *(nn.Conv2d(10, 16, 3), nn.PReLU(16)),
            *(nn.Conv2d(16, 32, 3), nn.PReLU(32)),
        )
        self.face = nn.Conv2d(32, 2, 1)
        self.box = nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.layers(x)
        return self.face(x).softmax(1)[:, 1], self.box(x)


def _columns_first(x: Tensor) -> Tensor:
    """(B, channels, rows, columns) as one row each, in the order of MATLAB, in which the dense layers were trained."""
    return x.permute(0, 3, 2, 1).flatten(1)


class RNet(nn.Module):
    """(B, 3, 24, 24) to the certainties (B,) that they are faces and the offsets (B, 4) of their boxes."""

    side = 24

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 28, 3), nn.PReLU(28), nn.MaxPool2d(3, 2, ceil_mode=True)),
            *(nn.Conv2d(28, 48, 3), nn.PReLU(48), nn.MaxPool2d(3, 2, ceil_mode=True)),
            *(nn.Conv2d(48, 64, 2), nn.PReLU(64)),
        )
        self.dense = nn.Sequential(nn.Linear(64 * 3 * 3, 128), nn.PReLU(128))
        self.face = nn.Linear(128, 2)
        self.box = nn.Linear(128, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.dense(_columns_first(self.layers(x)))
        return self.face(x).softmax(1)[:, 1], self.box(x)


class ONet(nn.Module):
    """(B, 3, 48, 48) to certainties (B,), offsets (B, 4) and five points (B, 10), first all x, as shares of the box."""

    side = 48

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 32, 3), nn.PReLU(32), nn.MaxPool2d(3, 2, ceil_mode=True)),
            *(nn.Conv2d(32, 64, 3), nn.PReLU(64), nn.MaxPool2d(3, 2, ceil_mode=True)),
            *(nn.Conv2d(64, 64, 3), nn.PReLU(64), nn.MaxPool2d(2, 2, ceil_mode=True)),
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
    """The three networks, and the cascade through them."""

    def __init__(self) -> None:
        super().__init__()
        self.pnet, self.rnet, self.onet = PNet(), RNet(), ONet()

    @torch.no_grad()
    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Five points and the certainty of each face.

        Args:
            picture: (3, rows, columns) float, sRGB 0..255.

        Returns:
            (N, 5, 2) eyes, nose, mouth corners in pixels, image left before right, and (N,) certainties 0..1.
        """
        # Channels last in memory; torch only takes it for that if the batch's stride is the usual one too.
        pictures = picture.permute(1, 2, 0).contiguous()[None].permute(0, 3, 1, 2)
        boxes = self._refined(pictures, self._proposals(pictures))
        chips, boxes = _cut(pictures, boxes, ONet.side)
        if not len(boxes):
            return picture.new_zeros(0, 5, 2), picture.new_zeros(0)
        certainty, offsets, points = (
            torch.cat(parts) for parts in zip(*map(self.onet, chips.split(_BATCH)), strict=True)
        )
        sure = certainty > _CERTAINTIES[2]
        certainty, offsets, points, boxes = certainty[sure], offsets[sure], points[sure], boxes[sure]
        corner, size = boxes[:, None, :2], _inclusive(boxes)[:, None]
        places = size * points.view(-1, 2, 5).transpose(1, 2) + corner - 1
        kept = suppress(_grown(_moved(boxes, offsets)), certainty, _OVERLAP, "smaller")
        return places[kept], certainty[kept]

    def _proposals(self, pictures: Tensor) -> Tensor:
        """(N, 4) square boxes that P-Net takes for faces, in all scales."""
        rows, columns = pictures.shape[2:]
        boxes, certainties, offsets = [pictures.new_zeros(0, 4)], [pictures.new_zeros(0)], [pictures.new_zeros(0, 4)]
        scale = _CELL / SMALLEST_FACE
        side = min(rows, columns) * scale
        while side >= _CELL:
            small = _resized(pictures, int(rows * scale + 1), int(columns * scale + 1))
            certainty, offset = self.pnet(_normalised(small))
            found = certainty[0] >= _CERTAINTIES[0]
            cells = found.nonzero().flip(1).to(pictures.dtype)
            corners = [((_STRIDE * cells + reach) / scale).floor() for reach in (1, _CELL)]
            here = torch.cat(corners, 1)
            kept = suppress(here, certainty[0][found], _OVERLAP_IN_SCALE)
            boxes.append(here[kept])
            certainties.append(certainty[0][found][kept])
            offsets.append(offset[0][:, found].t()[kept])
            scale, side = scale * _PYRAMID, side * _PYRAMID
        all_boxes = torch.cat(boxes)
        kept = suppress(all_boxes, torch.cat(certainties), _OVERLAP)
        all_boxes, offset = all_boxes[kept], torch.cat(offsets)[kept]
        size = all_boxes[:, 2:] - all_boxes[:, :2]
        return _squared(all_boxes + offset * size.repeat(1, 2))

    def _refined(self, pictures: Tensor, boxes: Tensor) -> Tensor:
        """(M, 4) square boxes that R-Net takes for faces too."""
        chips, boxes = _cut(pictures, boxes, RNet.side)
        if not len(boxes):
            return boxes
        certainty, offsets = (torch.cat(parts) for parts in zip(*map(self.rnet, chips.split(_BATCH)), strict=True))
        sure = certainty > _CERTAINTIES[1]
        boxes, offsets = boxes[sure], offsets[sure]
        kept = suppress(boxes, certainty[sure], _OVERLAP)
        return _squared(_moved(boxes[kept], offsets[kept]))


def suppress(boxes: Tensor, scores: Tensor, limit: float, of: Literal["union", "smaller"] = "union") -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: (N, 4).
        scores: (N,).
        limit: boxes that overlap a better one by more than this are dropped.
        of: what the overlap is a share of, the union of both boxes or the smaller one.

    Returns:
        (K,) int64, indices of the kept boxes, best first.
    """
    rest = scores.argsort(descending=True, stable=True)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(best)
        low = torch.maximum(boxes[best, :2], boxes[rest, :2])
        high = torch.minimum(boxes[best, 2:], boxes[rest, 2:])
        overlap = (high - low).clamp(min=0).prod(1)
        whole = area[best] + area[rest] - overlap if of == "union" else torch.minimum(area[best], area[rest])
        rest = rest[overlap <= limit * whole]
    return torch.stack(kept) if kept else rest


def _normalised(pictures: Tensor) -> Tensor:
    return (pictures - 127.5) * 0.0078125


def _resized(pictures: Tensor, rows: int, columns: int) -> Tensor:
    return F.interpolate(pictures, (rows, columns), mode="area")


def _cut(pictures: Tensor, boxes: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """What lies in each box, (N, 3, side, side) for a network, and the boxes, without those outside the picture."""
    rows, columns = pictures.shape[2:]
    chips, inside = [], []
    for number, (x0, y0, x1, y1) in enumerate(boxes.trunc().int().tolist()):
        cut = pictures[0, :, max(y0, 1) - 1 : min(y1, rows), max(x0, 1) - 1 : min(x1, columns)]
        if cut.numel():
            chips.append(_resized(cut[None], side, side))
            inside.append(number)
    if not chips:
        return pictures.new_zeros(0, 3, side, side), boxes[:0]
    return _normalised(torch.cat(chips)), boxes[inside]


def _inclusive(boxes: Tensor) -> Tensor:
    """(N, 2) width and height of boxes whose last pixel counts."""
    return boxes[:, 2:] - boxes[:, :2] + 1


def _grown(boxes: Tensor) -> Tensor:
    """Boxes whose last pixel counts as boxes that end behind it."""
    return torch.cat([boxes[:, :2], boxes[:, 2:] + 1], 1)


def _moved(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Boxes with each side moved by a share of the box's size."""
    return boxes + offsets * _inclusive(boxes).repeat(1, 2)


def _squared(boxes: Tensor) -> Tensor:
    """Boxes with the same centres and their longer side on all sides."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.amax(1, keepdim=True)
    corner = boxes[:, :2] + size * 0.5 - side * 0.5
    return torch.cat([corner, corner + side], 1)
