"""What recognisers say of a face before and after: similarities, thresholds, verdicts."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from c2p_core.api import Face, Similarity
from c2p_core.faces.align import align, crop_canvas, transform_points
from c2p_core.faces.canvas import CanvasFace
from c2p_core.faces.landmarks import to_tensor
from c2p_core.faces.view import View
from c2p_core.recognition import Recogniser
from c2p_core.rgb8 import as_floats, tensor_as_bytes, through_file

# JPEG quality of what social networks typically make of a photo.
UPLOAD_QUALITY = 75


def crop_face(photo: Tensor | View, face: Face) -> CanvasFace:
    """Crop a face of a (3, H, W) sRGB picture, or of the view of a photo, to its own canvas."""
    alignment = align(face.mesh, face.eye_distance)
    mesh = torch.from_numpy(transform_points(alignment.to_canvas, face.mesh))
    return CanvasFace(crop_canvas(photo, alignment), mesh)


def embed_face(seen: CanvasFace, recognisers: Sequence[Recogniser], device: torch.device) -> dict[str, Tensor]:
    """Per recogniser name, the (D,) unit embedding."""
    with torch.no_grad():
        canvas, mesh = seen.pixels[None].to(device), seen.mesh[None].to(device)
        return {r.name: r.embed(canvas, mesh)[0] for r in recognisers}


def measure_similarities(
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
    own = embed_face(original, recognisers, device)
    upload = embed_face(CanvasFace(_uploaded(original.pixels), original.mesh), recognisers, device)
    now = embed_face(after, recognisers, device)
    return tuple(
        Similarity(
            r.name,
            r.family,
            r.name in held_out,
            before=float(own[r.name] @ upload[r.name]),
            after=float(own[r.name] @ now[r.name]),
            far1=r.far1,
            far01=r.far01,
            other_photos_up_to=r.other_photos_up_to,
        )
        for r in recognisers
    )


def _uploaded(canvas: Tensor) -> Tensor:
    return to_tensor(as_floats(through_file(tensor_as_bytes(canvas), "JPEG", UPLOAD_QUALITY)))
