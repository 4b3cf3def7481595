"""A face keeps its expression and its character, whatever the search asks of its shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from benchmarks.metrics.expression import measure_expression
from c2p_core.faces.align import CANVAS
from c2p_core.faces.canonical import cell_centres
from c2p_core.faces.canvas import CanvasFace, warp_points
from c2p_core.faces.regions import LEFT_BROW, NOSE
from c2p_core.models.store import ModelStore
from c2p_core.priors.complexion import load_basis
from c2p_core.priors.expression import EYES, LIPS, STILL, Conditions, build_conditions, enforce, face_sides, jaw_outline
from c2p_core.priors.makeup import MakeupFace, MakeupPrior
from c2p_core.priors.shape import SIZE, build_field

CELLS = 64
CHEEKS = (50, 280, 205, 425)
CLOSE = 0.01  # canvas px: far below what anybody sees, far above rounding

codes = npst.arrays(np.float32, 2 * SIZE, elements=st.floats(-50.0, 50.0, width=32))
whatever_the_code = settings(deadline=None, max_examples=60)


@pytest.fixture(scope="module", params=[0.5, 1.0])
def face(request: pytest.FixtureRequest, astronaut_canvas: CanvasFace, prior: MakeupPrior) -> MakeupFace:
    return prior.invert(astronaut_canvas, request.param)


def draw_code(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(2 * SIZE).astype(np.float32)


def measure_displacement(displacement: torch.Tensor, points: torch.Tensor) -> NDArray[np.float64]:
    """(N, 2) canvas pixels by which a (2, cells, cells) displacement moves points of the canvas."""
    grid = (points * (2.0 / CANVAS) - 1.0)[None, None]
    sampled = F.grid_sample(displacement[None], grid, align_corners=False, padding_mode="zeros")
    return np.asarray(sampled[0, :, 0].T.numpy(), dtype=np.float64)


def measure_shifts(face: MakeupFace, code: NDArray[np.float32], points: torch.Tensor) -> NDArray[np.float64]:
    return measure_displacement(face.renderer.displacement({"shape": torch.from_numpy(code)}), points)


@whatever_the_code
@given(code=codes)
def test_no_measure_of_expression_changes(
    face: MakeupFace, astronaut_canvas: CanvasFace, code: NDArray[np.float32]
) -> None:
    mesh = astronaut_canvas.mesh
    before = measure_expression(mesh.numpy())
    after = measure_expression(warp_points(face.renderer.displacement({"shape": torch.from_numpy(code)}), mesh).numpy())
    assert len(before) == 14
    # In per cent of the eye distance.
    assert np.abs(after - before).max() < 0.1


@whatever_the_code
@given(code=codes)
def test_eyes_brows_lips_and_nose_do_not_move(
    face: MakeupFace, astronaut_canvas: CanvasFace, code: NDArray[np.float32]
) -> None:
    assert np.abs(measure_shifts(face, code, astronaut_canvas.mesh)[list(STILL)]).max() < CLOSE


@whatever_the_code
@given(code=codes)
def test_the_outline_of_the_jaw_moves_along_a_parabola(
    face: MakeupFace, astronaut_canvas: CanvasFace, code: NDArray[np.float32]
) -> None:
    outline = jaw_outline(astronaut_canvas.mesh.numpy())
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(outline, axis=0), axis=1))])
    points = torch.from_numpy(outline.astype(np.float32))
    outline_shifts = measure_shifts(face, code, points)
    for axis in outline_shifts.T:
        smooth = np.polynomial.Polynomial.fit(way, axis, 2)
        assert np.abs(axis - smooth(way)).max() < CLOSE


@whatever_the_code
@given(code=codes)
def test_the_face_keeps_its_width(face: MakeupFace, astronaut_canvas: CanvasFace, code: NDArray[np.float32]) -> None:
    sides = torch.from_numpy(face_sides(astronaut_canvas.mesh.numpy()))
    assert np.abs(measure_shifts(face, code, sides)[:, 0]).max() < CLOSE


def test_cheeks_and_jaw_still_move(face: MakeupFace, astronaut_canvas: CanvasFace) -> None:
    jaw = torch.from_numpy(jaw_outline(astronaut_canvas.mesh.numpy()).astype(np.float32))
    mesh_shifts = np.stack([measure_shifts(face, draw_code(seed), astronaut_canvas.mesh) for seed in range(8)])
    assert np.linalg.norm(mesh_shifts[:, list(CHEEKS)], axis=2).max(1).min() > 1.5
    assert max(np.abs(measure_shifts(face, draw_code(seed), jaw)).max() for seed in range(8)) > 0.3


@pytest.fixture(scope="module")
def mean_face(store: ModelStore) -> NDArray[np.float32]:
    return load_basis(store.obtain("complexion")).mesh.numpy()


# Without the expression


@pytest.fixture(scope="module")
def freed(astronaut_canvas: CanvasFace, prior: MakeupPrior) -> MakeupFace:
    return prior.invert(astronaut_canvas, 0.5, keep_expression=False)


@whatever_the_code
@given(code=codes)
def test_without_keep_expression_eyes_do_not_move(
    freed: MakeupFace, astronaut_canvas: CanvasFace, code: NDArray[np.float32]
) -> None:
    assert np.abs(measure_shifts(freed, code, astronaut_canvas.mesh)[list(EYES)]).max() < CLOSE


def test_without_keep_expression_brows_lips_nose_and_jaw_change_shape(mean_face: NDArray[np.float32]) -> None:
    canonical, hold = cell_centres(CELLS).astype(np.float32), np.zeros(CELLS * CELLS, np.float32)
    mesh = torch.from_numpy(mean_face)
    jaw = torch.from_numpy(jaw_outline(mean_face).astype(np.float32))
    form = {}
    for keep in (True, False):
        field = build_field(canonical, CELLS, hold, build_conditions(mean_face, CELLS, keep))
        displacements = [field.displacement(torch.from_numpy(draw_code(n)), 5.0) for n in range(12)]
        mesh_shifts = np.stack([measure_displacement(displacement, mesh) for displacement in displacements])
        lips = mesh_shifts[:, list(LIPS)]
        outline = np.stack([measure_displacement(displacement, jaw) for displacement in displacements])
        form[keep] = [
            np.abs(mesh_shifts[:, list(LEFT_BROW)]).max(),
            np.abs(lips - lips.mean(1, keepdims=True)).max(),
            np.abs(mesh_shifts[:, list(NOSE), 0]).max(),
            np.abs(np.diff(outline, 4, axis=1)).max(),
        ]
        assert np.abs(mesh_shifts[:, list(EYES)]).max() < CLOSE
    assert max(form[True][:3]) < CLOSE and min(form[False][:3]) > 1.0
    assert form[False][3] > 3 * form[True][3]


def test_keep_expression_does_not_change_stiffness_and_strain_penalties(
    freed: MakeupFace, astronaut_canvas: CanvasFace, prior: MakeupPrior
) -> None:
    bound, code = prior.invert(astronaut_canvas, 0.5), freed.start()
    code["shape"] = torch.from_numpy(draw_code(0))
    rendered = freed.render(code)
    rendered = replace(rendered, displacement=5 * rendered.displacement)
    assert float(freed.visibility_penalty(rendered)) == float(bound.visibility_penalty(rendered)) > 0.1
    assert float(freed.latent_loss(code, rendered)) == float(bound.latent_loss(code, rendered)) > 0.5


# The conditions themselves, against displacements made by hand.


def mark_cells(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """(CELLS, CELLS) 1 on the cells from which a displacement reaches the points, else 0."""
    corners = np.floor(points * (CELLS / CANVAS) - 0.5).astype(int)
    cells = np.zeros((CELLS, CELLS))
    for dx, dy in ((0, 0), (0, 1), (1, 0), (1, 1)):
        cells[corners[:, 1] + dy, corners[:, 0] + dx] = 1.0
    return cells


def measure_violation(mesh: NDArray[np.float32], sideways: NDArray[np.float64], down: NDArray[np.float64]) -> float:
    """How far a displacement of these two (CELLS, CELLS) parts is from meeting the conditions, in canvas pixels."""
    conditions = build_conditions(mesh, CELLS)
    products = conditions.sideways @ sideways.ravel(), conditions.down @ down.ravel()
    return float(np.abs(np.concatenate(products)).max())


def test_a_lip_may_not_move_alone(astronaut_canvas: CanvasFace) -> None:
    mesh = astronaut_canvas.mesh.numpy()
    below = np.arange(CELLS)[:, None] * (CANVAS / CELLS) > mesh[[13, 14], 1].mean()
    assert measure_violation(mesh, np.zeros((CELLS, CELLS)), 3.0 * mark_cells(mesh[list(LIPS)]) * below) > 1.0


def test_a_brow_may_not_move_at_all(astronaut_canvas: CanvasFace) -> None:
    mesh = astronaut_canvas.mesh.numpy()
    assert measure_violation(mesh, np.zeros((CELLS, CELLS)), 3.0 * mark_cells(mesh[list(LEFT_BROW)])) == pytest.approx(
        3.0
    )


def test_a_jaw_may_get_longer_and_may_not_dent(astronaut_canvas: CanvasFace) -> None:
    mesh = astronaut_canvas.mesh.numpy()
    outline = jaw_outline(mesh).astype(np.float32)
    still = np.zeros((CELLS, CELLS))
    assert measure_violation(mesh, still, 3.0 * mark_cells(outline)) < 1e-9
    assert measure_violation(mesh, still, 3.0 * mark_cells(outline[len(outline) // 3, None])) > 1.0


rows_on_few = npst.arrays(np.float64, st.tuples(st.integers(1, 9), st.just(36)), elements=st.integers(-5, 5))


@given(sideways=rows_on_few, down=rows_on_few)
def test_enforced_displacements_meet_every_condition_however_many_depend_on_each_other(
    sideways: NDArray[np.float64], down: NDArray[np.float64]
) -> None:
    moves = np.random.default_rng(0).standard_normal((72, 3))
    conditions = Conditions(np.concatenate([sideways, sideways[:1]]), np.concatenate([down, down[:1]]))
    along_x, along_y = np.split(enforce(conditions, moves, np.ones((6, 6), bool)), 2)
    assert np.abs(sideways @ along_x).max() < 1e-6 and np.abs(down @ along_y).max() < 1e-6


@given(sideways=rows_on_few, down=rows_on_few)
def test_displacements_that_meet_the_conditions_are_not_changed(
    sideways: NDArray[np.float64], down: NDArray[np.float64]
) -> None:
    conditions, movable = Conditions(sideways, down), np.ones((6, 6), bool)
    enforced = enforce(conditions, np.random.default_rng(0).standard_normal((72, 3)), movable)
    assert np.allclose(enforce(conditions, enforced, movable), enforced, atol=1e-6)


def test_nothing_changes_where_nothing_is_movable_and_without_conditions() -> None:
    moves = np.random.default_rng(0).standard_normal((72, 3))
    movable = np.ones((6, 6), bool)
    nothing = np.zeros((1, 36))
    assert np.array_equal(enforce(Conditions(nothing, nothing), moves, movable), moves)
    movable[:, 3:] = False
    condition = np.zeros((1, 36))
    condition[0, 8] = 1.0
    changed = (enforce(Conditions(condition, nothing), moves, movable) != moves).reshape(2, 6, 6, 3)
    assert changed[0].any() and not changed[0, :, 3:].any() and not changed[1].any()
