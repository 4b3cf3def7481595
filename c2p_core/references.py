"""Other photos of the people in a photo, which somebody searching for them may have.

The search then moves each face away from the mean of the person's embeddings rather than from one of them, and the
report says which matches with these photos are lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from c2p_core.faces import find_faces_in
from c2p_core.faces.view import View
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.recognition import Recogniser
from c2p_core.verify import Embeddings, crop_face, embed_face


def embed_references(
    photos: Sequence[Photo], recognisers: Sequence[Recogniser], device: torch.device, store: ModelStore
) -> tuple[Embeddings, ...]:
    """Embed every face of the photos that is large enough.

    Raises:
        ModelUnavailable: a detector's model is missing.
    """
    return tuple(
        embed_face(crop_face(view, face), recognisers, device)
        for view in map(View, photos)
        for face in find_faces_in(view, store)
        if not face.skipped
    )


def select_same_person(
    embeddings: Embeddings, references: Sequence[Embeddings], recognisers: Sequence[Recogniser]
) -> tuple[Embeddings, ...]:
    """Select the references that more than half of the recognisers match with a face, at FAR 1 %."""

    def matches(reference: Embeddings) -> bool:
        verdicts = [float(embeddings[r.name] @ reference[r.name]) >= r.far1 for r in recognisers]
        return 2 * sum(verdicts) > len(verdicts)

    return tuple(reference for reference in references if matches(reference))


def average_embeddings(embeddings: Embeddings, references: Sequence[Embeddings]) -> Embeddings:
    """The mean of a face's embedding and those of other photos of the person, at unit length."""
    if not references:
        return embeddings
    return {
        name: F.normalize(torch.stack([vectors[name] for vectors in (embeddings, *references)]).mean(0), dim=0)
        for name in embeddings
    }
