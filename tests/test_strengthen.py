"""Strengthening: a protected and edited photo is protected better, and goes no farther from its original."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from c2p_core.api import Face, Photo, ProtectRequest
from c2p_core.compare import check
from c2p_core.direction import apply_direction
from c2p_core.faces import find_faces
from c2p_core.faces.align import CANVAS_EYE_DISTANCE
from c2p_core.faces.amounts import AS_FOUND
from c2p_core.faces.canvas import warp_points
from c2p_core.models.loaded import WarmModels
from c2p_core.models.store import ModelStore
from c2p_core.pipeline import find_direction, protect
from c2p_core.priors.strength import compute_strength_limits

EYE = slice(95, 120), slice(190, 225)


@pytest.mark.slow
def test_landmarks_stay_within_the_limits_of_the_strength_and_the_face_is_protected_better(
    astronaut: Photo, astronaut_face: Face, store: ModelStore, warm: WarmModels
) -> None:
    request = ProtectRequest(astronaut, prompt="red lipstick", strength=0.4, steps=15)
    edited = protect(request, store=store, warm=warm).photo.pixels.copy()
    edited[EYE] = astronaut.pixels[EYE]
    again = replace(request, photo=Photo(edited), original=astronaut)
    direction = find_direction(again, store=store, warm=warm)
    strengthened = apply_direction(direction, AS_FOUND)

    # By what both runs moved: no more than the limit, or not at all where the first run used it up.
    (found,) = direction.changes
    canvas, original = found.subject.canvas, found.subject.canvas.original
    assert original is not None
    moved = warp_points(found.change.displacement, canvas.mesh) - original.mesh
    before = float((canvas.mesh - original.mesh).norm(dim=1).mean())
    limits = compute_strength_limits(0.4)
    assert float(moved.norm(dim=1).mean()) <= max(limits.displacement * CANVAS_EYE_DISTANCE, before) + 1e-3
    # And found anew, where light makes them seem to move too.
    (face,) = find_faces(strengthened.photo, store)
    away = np.linalg.norm(face.mesh - astronaut_face.mesh, axis=1) / astronaut_face.eye_distance
    assert away.max() <= limits.shape

    (report,), (bare,) = strengthened.faces, check(astronaut, Photo(edited), store=store, warm=warm)
    gained = [b.after - a.after for a, b in zip(report.similarities, bare.similarities, strict=True)]
    assert sum(gained) > 0.1
