"""Draws detected faces onto a photo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from c2p_core.api import Face
from c2p_core.io.colour_profiles import to_srgb
from c2p_core.photo import Photo

_DETECTED, _SKIPPED = (40, 200, 90), (230, 120, 30)


def draw_faces(photo: Photo, faces: Sequence[Face]) -> Photo:
    """Draw a numbered box and the mesh of every face, skipped faces in orange; the result is 8-bit sRGB."""
    picture = Image.fromarray(np.rint(to_srgb(photo).clip(0, 1) * 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for face in faces:
        colour = _SKIPPED if face.skipped else _DETECTED
        x0, y0, _, y1 = face.box
        size = max(12.0, (y1 - y0) / 10)
        draw.rectangle(face.box, outline=colour, width=max(1, round(size / 10)))
        dot = size / 40
        for x, y in face.mesh:
            draw.ellipse((x - dot, y - dot, x + dot, y + dot), fill=colour)
        font = ImageFont.load_default(1.5 * size)
        position = (x0, max(2 * size, y0))
        draw.rectangle(draw.textbbox(position, str(face.number), font, anchor="ld"), fill=colour)
        draw.text(position, str(face.number), fill="black", font=font, anchor="ld")
    return Photo(np.asarray(picture))
