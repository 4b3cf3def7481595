"""Small pictures for the report: the photo before and after, or the part of it with the faces."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

from c2p_core.api import Box
from c2p_core.faces.view import View
from c2p_core.io.rgb8 import tensor_as_bytes
from c2p_core.photo import Photo

_SIDE = 640  # px, the longest
_QUALITY = 82
_MARGIN = 0.6  # around faces, relative to the largest face
_MAX_SHARE = 0.7  # share of a photo's sides above which the whole photo is shown


def make_thumbnails(before: Photo, after: Photo, boxes: Sequence[Box]) -> tuple[bytes, bytes]:
    """Two JPEGs in sRGB of the same part, at most 640 pixels a side, without metadata.

    Args:
        before, after: of the same size.
        boxes: of the protected faces, in pixels of the photo; without any, the whole photo is shown.
    """
    part = _choose_part(before.width, before.height, boxes)
    return _draw(before, part), _draw(after, part)


def _choose_part(width: int, height: int, boxes: Sequence[Box]) -> tuple[int, int, int, int]:
    if not boxes:
        return 0, 0, width, height
    margin = _MARGIN * max(max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes)
    left, top = min(box[0] for box in boxes) - margin, min(box[1] for box in boxes) - margin
    right, bottom = max(box[2] for box in boxes) + margin, max(box[3] for box in boxes) + margin
    if right - left > _MAX_SHARE * width and bottom - top > _MAX_SHARE * height:
        return 0, 0, width, height
    return max(0, int(left)), max(0, int(top)), min(width, int(right) + 1), min(height, int(bottom) + 1)


def _draw(photo: Photo, part: tuple[int, int, int, int]) -> bytes:
    x0, y0, x1, y1 = part
    shrink = max(1, max(x1 - x0, y1 - y0) // _SIDE)
    picture = Image.fromarray(tensor_as_bytes(View(photo).read(x0, y0, x1, y1, shrink)))
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
