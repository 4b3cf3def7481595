"""Strengthening: a protected and edited photo is protected better, and goes no farther from its original."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from c2p_core.api import Face, Photo, ProtectRequest
from c2p_core.compare import check
from c2p_core.faces import find_faces
from c2p_core.models.store import ModelStore
from c2p_core.pipeline import protect
from c2p_core.priors.strength import strength_limits

EYE = slice(95, 120), slice(190, 225)


@pytest.mark.slow
def test_landmarks_stay_within_the_limit_of_the_strength_and_the_face_is_protected_better(
    astronaut: Photo, astronaut_face: Face, store: ModelStore
) -> None:
    request = ProtectRequest(astronaut, prompt="red lipstick", strength=0.4, steps=15)
    edited = protect(request, store=store).photo.pixels.copy()
    edited[EYE] = astronaut.pixels[EYE]
    strengthened = protect(replace(request, photo=Photo(edited), original=astronaut), store=store).photo

    (face,) = find_faces(strengthened, store)
    moved = np.linalg.norm(face.mesh - astronaut_face.mesh, axis=1) / astronaut_face.eye_distance
    limits = strength_limits(0.4)
    assert moved.mean() <= limits.moved and moved.max() <= limits.shape
    before, after = (check(astronaut, photo, store=store)[0].similarities for photo in (Photo(edited), strengthened))
    assert sum(s.after for s in after) < sum(s.after for s in before) - 0.1
