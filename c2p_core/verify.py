"""What recognisers say of a face before and after: similarities, thresholds, verdicts."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from c2p_core.api import Face, Photo, Similarity
from c2p_core.faces.align import CANVAS, align, apply, canvas_crop
from c2p_core.faces.view import View
from c2p_core.imageio import to_srgb
from c2p_core.priors.prior import CanvasFace
from c2p_core.recognition import Recogniser

# What social networks typically make of a photo.
UPLOAD_QUALITY = 75
UPLOAD_WIDTH = 1080


def see(photo: Tensor | View, face: Face) -> CanvasFace:
    """Crop a face of a (3, H, W) sRGB picture, or of the view of a photo, to its own canvas."""
    alignment = align(face.mesh, face.eye_distance)
    mesh = torch.from_numpy(apply(alignment.to_canvas, face.mesh))
    return CanvasFace(canvas_crop(photo, alignment), mesh)


def embeddings(seen: CanvasFace, recognisers: Sequence[Recogniser], device: torch.device) -> dict[str, Tensor]:
    """Per recogniser name, the (D,) unit embedding."""
    with torch.no_grad():
        canvas, mesh = seen.pixels[None].to(device), seen.mesh[None].to(device)
        return {r.name: r.embed(canvas, mesh)[0] for r in recognisers}


def similarities(
    original: CanvasFace,
    after: CanvasFace,
    recognisers: Sequence[Recogniser],
    held_out: Collection[str],
    device: torch.device,
) -> tuple[Similarity, ...]:
    """One row per recogniser.

    Args:
        original: the unchanged face.
        after: the protected face, its landmarks found anew.
        recognisers: all that were loaded.
        held_out: names of those that the search never saw.
        device: where the recognisers are.
    """
    own = embeddings(original, recognisers, device)
    upload = embeddings(CanvasFace(_uploaded(original.pixels), original.mesh), recognisers, device)
    now = embeddings(after, recognisers, device)
    return tuple(
        Similarity(
            r.name,
            r.family,
            r.name in held_out,
            before=float(own[r.name] @ upload[r.name]),
            after=float(own[r.name] @ now[r.name]),
            far1=r.far1,
            far01=r.far01,
        )
        for r in recognisers
    )


def typical_upload(photo: Photo, scale: float) -> Photo:
    """The photo as a network shows it: resized by ``scale`` (0..1), sRGB, through a JPEG of ``UPLOAD_QUALITY``."""
    picture = Image.fromarray((to_srgb(photo) * 255).round().astype(np.uint8))
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=UPLOAD_QUALITY)
    return Photo(np.asarray(Image.open(file)))


def _uploaded(canvas: Tensor) -> Tensor:
    pixels = (canvas.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=UPLOAD_QUALITY)
    back = np.asarray(Image.open(file), dtype=np.float32).reshape(CANVAS, CANVAS, 3) / 255
    return torch.from_numpy(back).permute(2, 0, 1)
