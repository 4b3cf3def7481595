"""A locked part stays where it is, whatever the search asks of shape, in every place that shows or applies it."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from c2p_core.api import Face, Part, ProtectRequest
from c2p_core.direction import Direction, FaceChange
from c2p_core.faces.align import CANVAS, align
from c2p_core.faces.amounts import Amounts, scale_change
from c2p_core.faces.canvas import CanvasFace, upsample
from c2p_core.faces.paste import paste
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.priors.locks import part_points, unlocked_mask
from c2p_core.priors.makeup import MakeupFace, MakeupPrior
from c2p_core.priors.shape import SIZE
from c2p_core.sketch import Sketch
from c2p_core.subjects import Subject

PARTS: tuple[Part, ...] = get_args(Part)
PAIRS: tuple[tuple[Part, ...], ...] = (("brows", "jaw"), ("mouth", "nose"))
CHEEKS = (50, 280, 205, 425)
STILL = 0.05  # canvas px

codes = npst.arrays(np.float32, 2 * SIZE, elements=st.floats(-50.0, 50.0, width=32))

Faces = dict[tuple[tuple[Part, ...], bool], MakeupFace]


@pytest.fixture(scope="module")
def faces(prior: MakeupPrior, astronaut_canvas: CanvasFace) -> Faces:
    """By what is locked, and whether the expression is kept."""
    cases: list[tuple[tuple[Part, ...], bool]] = [(PAIRS[0], False), (PAIRS[1], False), (PARTS, True)]
    return {(locks, keep): prior.invert(astronaut_canvas, 1.0, keep, locks) for locks, keep in cases}


def displacement(face: MakeupFace, code: NDArray[np.float32]) -> torch.Tensor:
    return face.renderer.displacement({"shape": torch.from_numpy(code)})


def went(field: torch.Tensor, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) canvas pixels by which a displacement moves points, enlarged as it is for pictures and photos."""
    grid = (torch.from_numpy(points) * (2.0 / CANVAS) - 1.0)[None, None]
    shift = F.grid_sample(upsample(field)[None], grid, align_corners=False, padding_mode="zeros")[0, :, 0]
    return np.asarray(shift.norm(dim=0).numpy())


@settings(deadline=None, max_examples=40)
@given(code=codes)
def test_no_landmark_of_a_locked_part_moves_with_or_without_the_expression(
    faces: Faces, astronaut_canvas: CanvasFace, code: NDArray[np.float32]
) -> None:
    mesh = astronaut_canvas.mesh.numpy()
    for (locks, _keep), face in faces.items():
        field = displacement(face, code)
        for part in locks:
            points = part_points(mesh, part)
            assert went(field, points).max() < STILL
            # Of the grid itself not one of the cells around moves.
            shifts = F.grid_sample(
                field[None], torch.from_numpy(2 * points / CANVAS - 1)[None, None], mode="nearest", align_corners=False
            )
            assert float(shifts.abs().max()) == 0.0


def test_unlocked_parts_still_move(faces: Faces, astronaut_canvas: CanvasFace) -> None:
    mesh = astronaut_canvas.mesh.numpy()
    codes = [np.random.default_rng(seed).standard_normal(2 * SIZE).astype(np.float32) for seed in range(4)]
    for (locks, keep), face in faces.items():
        fields = [displacement(face, code) for code in codes]
        unlocked = [part for part in PARTS if part not in locks] if not keep else []
        for points in [part_points(mesh, part) for part in unlocked] + [mesh[list(CHEEKS)]]:
            assert max(went(field, points).max() for field in fields) > 0.7


def test_without_locks_everything_may_move_as_before(astronaut_canvas: CanvasFace) -> None:
    assert np.array_equal(unlocked_mask(astronaut_canvas.mesh.numpy(), ()), np.ones((CANVAS, CANVAS), np.float32))


def test_several_locks_hold_in_any_order(astronaut_canvas: CanvasFace) -> None:
    mesh = astronaut_canvas.mesh.numpy()
    assert np.array_equal(unlocked_mask(mesh, PARTS), unlocked_mask(mesh, PARTS[::-1]))
    assert (unlocked_mask(mesh, PARTS) <= unlocked_mask(mesh, ("nose",))).all()


@pytest.mark.parametrize("locks", PAIRS)
def test_preview_and_result_keep_the_pixels_of_locked_parts(
    faces: Faces,
    astronaut: Photo,
    astronaut_face: Face,
    astronaut_canvas: CanvasFace,
    store: ModelStore,
    locks: tuple[Part, ...],
) -> None:
    face = faces[(locks, False)]
    code = face.start() | {"shape": torch.from_numpy(np.random.default_rng(1).normal(0, 20, 2 * SIZE)).float()}
    change = replace(face.change(code), density=torch.zeros(3, CANVAS, CANVAS))
    subject = Subject(astronaut_face, astronaut_canvas, astronaut_face, astronaut_canvas)
    face_change, request = FaceChange(subject, change, code, 1, 0.0), ProtectRequest(astronaut, locks=locks)
    direction = Direction(request, (astronaut_face,), (face_change,), (), (), torch.device("cpu"), store, ())
    amounts, size = Amounts(1.2, 1.2), (astronaut.width, astronaut.height)
    _, preview = Sketch(direction).render((0, 0, *size), size, amounts)
    alignment = align(astronaut_face.mesh, astronaut_face.eye_distance)
    result = paste(astronaut, [(alignment, scale_change(change, amounts))]).pixels
    landmarks = np.concatenate([part_points(astronaut_canvas.mesh.numpy(), part) for part in locks])
    points = landmarks @ alignment.to_photo[:, :2].T + alignment.to_photo[:, 2]
    columns, rows = np.floor(points).astype(int).T
    for after in (preview, result):
        assert np.array_equal(after[rows, columns], astronaut.pixels[rows, columns])
        assert np.abs(after.astype(int) - astronaut.pixels).max() > 30
