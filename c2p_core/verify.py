"""Similarities of a face before and after protection, by recogniser."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from c2p_core.api import Face, Similarity
from c2p_core.faces.align import align, crop_canvas, transform_points
from c2p_core.faces.canvas import CanvasFace
from c2p_core.faces.landmarks import to_tensor
from c2p_core.faces.view import View
from c2p_core.io.rgb8 import as_floats, recompress, tensor_as_bytes
from c2p_core.recent import Recent, digest
from c2p_core.recognition import Embed, Recogniser

# Typical JPEG quality of photos on social networks.
UPLOAD_QUALITY = 75


Embeddings = dict[str, Tensor]
"""(D,) unit embeddings of one face by recogniser name."""

# One run embeds the same face several times, and the next run on the photo does again.
_RECENT_CAPACITY = 16
_recent: WeakKeyDictionary[Embed, Recent[Tensor]] = WeakKeyDictionary()


def crop_face(photo: Tensor | View, face: Face) -> CanvasFace:
    """Crop a face out of a (3, H, W) sRGB picture in 0..1, or out of the view of a photo, onto its canvas."""
    alignment = align(face.mesh, face.eye_distance)
    mesh = torch.from_numpy(transform_points(alignment.to_canvas, face.mesh))
    return CanvasFace(crop_canvas(photo, alignment), mesh)


def embed_face(face: CanvasFace, recognisers: Sequence[Recogniser], device: torch.device) -> Embeddings:
    """Embed a face with every recogniser, without gradients; what was embedded lately is known."""
    key = digest(face.pixels.cpu().numpy(), face.mesh.cpu().numpy(), str(device))
    with torch.no_grad():
        canvas, mesh = face.pixels[None].to(device), face.mesh[None].to(device)
        return {r.name: _get_recent(r.embed).get(key, partial(_embed, r.embed, canvas, mesh)) for r in recognisers}


def _get_recent(embed: Embed) -> Recent[Tensor]:
    return _recent.setdefault(embed, Recent(_RECENT_CAPACITY))


def _embed(embed: Embed, canvas: Tensor, mesh: Tensor) -> Tensor:
    return embed(canvas, mesh)[0]


@dataclass(frozen=True)
class Original:
    """The unchanged face as recognisers see it.

    Attributes:
        embeddings: of the face.
        upload: of the face after JPEG compression at ``UPLOAD_QUALITY``.
        references: of other photos of the person, see ``references``.
    """

    embeddings: Embeddings
    upload: Embeddings
    references: tuple[Embeddings, ...]


def measure_similarities(
    original: CanvasFace,
    after: CanvasFace,
    recognisers: Sequence[Recogniser],
    held_out: Collection[str],
    device: torch.device,
    references: tuple[Embeddings, ...] = (),
) -> tuple[Similarity, ...]:
    """Compare a face before and after protection; one row per recogniser.

    Args:
        original: the unchanged face.
        after: the protected face, with landmarks detected in the protected picture.
        recognisers: all loaded recognisers.
        held_out: names of the recognisers that took no part in the search.
        device: the recognisers' device.
        references: embeddings of other photos of the person, to which the face is compared too.
    """
    embedded = embed_original(original, recognisers, device, references)
    return compare_with(embedded, after, recognisers, held_out, device)


def embed_original(
    original: CanvasFace,
    recognisers: Sequence[Recogniser],
    device: torch.device,
    references: tuple[Embeddings, ...] = (),
) -> Original:
    """Embed the unchanged face once for many calls of ``compare_with``."""
    upload = CanvasFace(_recompress(original.pixels), original.mesh)
    embeddings, uploaded = (embed_face(face, recognisers, device) for face in (original, upload))
    return Original(embeddings, uploaded, references)


def compare_with(
    original: Original,
    after: CanvasFace,
    recognisers: Sequence[Recogniser],
    held_out: Collection[str],
    device: torch.device,
) -> tuple[Similarity, ...]:
    """``measure_similarities`` with an unchanged face that has been embedded before."""
    protected = embed_face(after, recognisers, device)
    return tuple(
        Similarity(
            r.name,
            r.family,
            r.name in held_out,
            before=float(original.embeddings[r.name] @ original.upload[r.name]),
            after=float(original.embeddings[r.name] @ protected[r.name]),
            far1=r.far1,
            far01=r.far01,
            other_photos_up_to=r.other_photos_up_to,
            references=tuple(
                (float(original.embeddings[r.name] @ other[r.name]), float(protected[r.name] @ other[r.name]))
                for other in original.references
            ),
        )
        for r in recognisers
    )


def _recompress(canvas: Tensor) -> Tensor:
    """A (3, H, W) sRGB picture in 0..1 after JPEG compression at ``UPLOAD_QUALITY``."""
    return to_tensor(as_floats(recompress(tensor_as_bytes(canvas), "JPEG", UPLOAD_QUALITY)))
