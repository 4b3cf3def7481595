"""What is left of a face's protection after what happens to published pictures (``degradations``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from c2p_core.api import Face, Similarity, Survived
from c2p_core.degradations import DEGRADATIONS, UPLOAD_WIDTH, Degradation, Rgb8, as_floats
from c2p_core.faces import find_again
from c2p_core.faces.canvas import CanvasFace
from c2p_core.faces.landmarks import to_tensor
from c2p_core.faces.view import View
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.recognition import Recogniser
from c2p_core.verify import embeddings, see

# How far around a face its picture is degraded, in eye distances: a little more than a search for it looks at.
_REACH = 3.3
# Eyes further apart than twice this many pixels are brought nearer first, by averaging whole pixels: nobody publishes
# larger faces, and filters would take minutes.
_EYES = 160.0


@dataclass(frozen=True)
class _Cutout:
    """The neighbourhood of a face: (height, width, 3), the face in its pixels, how much an upload would resize it."""

    picture: Rgb8
    face: Face
    upload: float


def survival(
    original: Photo,
    face: Face,
    protected: Photo,
    after: Face,
    recognisers: Sequence[Recogniser],
    store: ModelStore,
    device: torch.device,
) -> tuple[Survived, ...]:
    """One row per degradation, the face searched anew in each degraded picture. Takes 8 to 20 seconds a face.

    Args:
        original, face: the unchanged photo, and the face in its pixels.
        protected, after: the protected photo, which may have another size, and the same face in its pixels.
        recognisers: whom to ask; all count as held out.
        store: where the detector's models are.
        device: where the recognisers are.
    """
    first, second = _cutout(original, face), _cutout(protected, after)
    own = embeddings(_see(first.picture, first.face), recognisers, device)
    controls = [_see(*_degraded(first, degradation)) for degradation in DEGRADATIONS]
    arrived: dict[str, CanvasFace] = {}
    for degradation in DEGRADATIONS:
        picture, expected = _degraded(second, degradation)
        found = find_again(to_tensor(as_floats(picture)), expected, store)
        if found is not None:
            arrived[degradation.name] = _see(picture, found)
    before = _similarities(own, controls, recognisers, device)
    now = dict(zip(arrived, _similarities(own, list(arrived.values()), recognisers, device), strict=True))
    return tuple(
        Survived(
            degradation.name,
            tuple(
                Similarity(r.name, r.family, True, control[r.name], now[degradation.name][r.name], r.far1, r.far01)
                for r in recognisers
            )
            if degradation.name in now
            else (),
        )
        for degradation, control in zip(DEGRADATIONS, before, strict=True)
    )


def _cutout(photo: Photo, face: Face) -> _Cutout:
    centre, reach = face.mesh.mean(0), _REACH * face.eye_distance
    x0, y0 = (int(v) for v in np.clip(np.floor(centre - reach), 0, [photo.width - 1, photo.height - 1]))
    x1, y1 = (int(v) for v in np.clip(np.ceil(centre + reach), [x0 + 1, y0 + 1], [photo.width, photo.height]))
    shrink = max(1, int(face.eye_distance / _EYES))
    pixels = View(photo).region(x0, y0, x1, y1, shrink)
    picture = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    moved = (face.mesh - np.array([x0, y0], np.float32)) / np.float32(shrink)
    inside = replace(face, mesh=moved, eye_distance=face.eye_distance / shrink)
    return _Cutout(picture, inside, min(1.0, UPLOAD_WIDTH * shrink / photo.width))


def _degraded(cutout: _Cutout, degradation: Degradation) -> tuple[Rgb8, Face]:
    """The picture that arrives, and where the face should lie in it."""
    arrived = degradation.apply(cutout.picture, cutout.upload)
    before = np.array(cutout.picture.shape[1::-1], np.float32)
    scale = np.array(arrived.shape[1::-1], np.float32) / (before * (1 - 2 * degradation.cut))
    mesh = ((cutout.face.mesh - before * degradation.cut) * scale).astype(np.float32)
    return arrived, replace(cutout.face, mesh=mesh, eye_distance=cutout.face.eye_distance * float(scale[0]))


def _see(picture: Rgb8, face: Face) -> CanvasFace:
    return see(to_tensor(as_floats(picture)), face)


def _similarities(
    own: dict[str, Tensor], seen: Sequence[CanvasFace], recognisers: Sequence[Recogniser], device: torch.device
) -> list[dict[str, float]]:
    """Of each face with the original, by recogniser."""
    if not seen:
        return []
    canvases = torch.stack([face.pixels for face in seen]).to(device)
    meshes = torch.stack([face.mesh for face in seen]).to(device)
    with torch.no_grad():
        said = {r.name: (r.embed(canvases, meshes) @ own[r.name]).tolist() for r in recognisers}
    return [{name: values[index] for name, values in said.items()} for index in range(len(seen))]
