"""The makeup product renderer, on scikit-image's portrait."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.data import astronaut
from torch import Tensor

from c2p_core.colour import srgb_to_linear
from c2p_core.faces.align import CANVAS, CANVAS_EYE_DISTANCE, align, crop_canvas, transform_points
from c2p_core.faces.landmarks import FaceMesh, eye_distance, to_tensor
from c2p_core.faces.regions import INNER_LIPS, signed_distance
from c2p_core.models.store import ModelStore
from c2p_core.products import codes, geometry, paint
from c2p_core.products.catalogue import PRODUCTS
from c2p_core.products.codes import decode, make_bare_code, product_row
from c2p_core.products.paint import PaintInputs, paint_prepared

RED = (0.7, 0.05, 0.1)
LIPS, LINER = PRODUCTS.index("lips"), PRODUCTS.index("eyeliner")
FIVE = np.array([[205, 110], [243, 105], [227, 130], [210, 150], [245, 147]], np.float32)


class Face:
    """The portrait's canvas, its mesh on it, and what is prepared for painting."""

    def __init__(self) -> None:
        find = FaceMesh(ModelStore(offline=True).obtain("face-mesh"))
        photo = to_tensor(astronaut().astype(np.float32) / np.float32(255))
        mesh, _ = find(photo, FIVE)
        alignment = align(mesh[:, :2], eye_distance(mesh))
        self.mesh = transform_points(alignment.to_canvas, mesh[:, :2])
        self.linear = srgb_to_linear(crop_canvas(photo, alignment).clamp(0, 1))
        self.regions = geometry.build_product_maps(self.mesh, CANVAS, CANVAS_EYE_DISTANCE, self.linear)
        self.skin = paint.skin_map(self.linear, CANVAS_EYE_DISTANCE)
        self.paint_inputs = paint.prepare_paint(self.regions, self.skin)

    def at(self, *points: int) -> tuple[int, int]:
        """Row and column of the mean of some mesh points."""
        x, y = self.mesh[list(points)].mean(0)
        return int(y), int(x)


@pytest.fixture(scope="module")
def face() -> Face:
    return Face()


def code_of(product: str, colour: tuple[float, float, float] | None = None, opacity: float = 0.9) -> Tensor:
    code = make_bare_code()
    code[PRODUCTS.index(product)] = product_row(product, colour, opacity)
    return code


def any_code(seed: int) -> Tensor:
    return 4.0 * torch.randn(codes.CODE_SHAPE, generator=torch.Generator().manual_seed(seed))


def test_without_products_nothing_changes_at_all(face: Face) -> None:
    assert torch.equal(
        paint_prepared(make_bare_code(), face.paint_inputs), torch.zeros(len(PRODUCTS), 3, CANVAS, CANVAS)
    )


def test_only_products_in_the_code_are_painted(face: Face) -> None:
    painted = paint_prepared(code_of("blush"), face.paint_inputs).abs().amax((1, 2, 3))
    assert [name for name, strength in zip(PRODUCTS, painted, strict=True) if strength > 0] == ["blush"]


def test_an_absent_product_can_be_found_by_the_search(face: Face) -> None:
    code = make_bare_code().requires_grad_()
    torch.autograd.backward(
        paint_prepared(code, face.paint_inputs).abs().sum() + paint_prepared(code, face.paint_inputs).sum()
    )
    assert code.grad is not None
    assert bool((code.grad[:, 3].abs() > 0).all())


def test_red_lipstick_takes_green_and_blue_from_the_lips(face: Face) -> None:
    row, column = face.at(17, 15)  # middle of the lower lip
    change = paint_prepared(code_of("lips", RED), face.paint_inputs).sum(0)[:, row, column]
    assert change[1] > change[0] + 0.3
    assert change[2] > change[0] + 0.3


def share_outside(code: Tensor, maps: PaintInputs, outline: Tensor, beyond: float = 0.01) -> float:
    """How much of the lipstick's opacity lies farther than so many eye distances outside an outline."""
    painted = paint_prepared(code, maps)[LIPS].abs().mean(0)
    return float((painted * (outline > beyond)).sum() / painted.sum())


# The usual lipstick, and the widest and softest that there is.
@pytest.mark.parametrize(("extent", "softness"), [(0.5, 0.5), (1.0, 1.0)])
@pytest.mark.parametrize("scale", [1, 4])
def test_lipstick_ends_at_the_lips_edge(face: Face, extent: float, softness: float, scale: int) -> None:
    code = make_bare_code()
    code[LIPS] = product_row("lips", RED, 0.9, extent, softness)
    maps = F.interpolate(face.paint_inputs.maps[None], scale_factor=scale, mode="bicubic")[0]
    assert share_outside(code, face.paint_inputs.with_maps(maps), maps[LIPS]) < 0.01
    by_mesh = geometry.build_product_maps(face.mesh, CANVAS, CANVAS_EYE_DISTANCE).level[LIPS]
    outside_mesh = F.interpolate(by_mesh[None, None], scale_factor=scale, mode="bicubic")[0, 0]
    assert share_outside(code, face.paint_inputs.with_maps(maps), outside_mesh) < 0.01


def test_lipstick_is_on_the_lips(face: Face) -> None:
    painted = paint_prepared(code_of("lips", RED), face.paint_inputs)[LIPS].abs().amax(0)
    for points in ((0, 13), (14, 17), (17, 84, 14), (17, 314, 14)):
        assert float(painted[face.at(*points)]) > 0.5


def draw_lips(face: Face, lips: Tensor, opening: Tensor) -> Tensor:
    """A plain (3, H, W) linear picture of skin, red lips and light teeth."""
    skin, red, teeth = (
        srgb_to_linear(torch.tensor(c))[:, None, None]
        for c in ((0.8, 0.62, 0.54), (0.66, 0.34, 0.36), (0.85, 0.83, 0.78))
    )
    picture = torch.where(lips, red, skin).expand(3, CANVAS, CANVAS)
    return torch.where(opening, teeth, picture)


def measure_lips(
    mesh: NDArray[np.float32], shift: tuple[float, float] = (0, 0), thinner: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Signed distances to the outline of the lips and to the opening of a mesh moved by canvas pixels."""
    moved = torch.from_numpy(mesh + np.array(shift, np.float32)).numpy()
    outer = geometry.build_product_maps(moved, CANVAS, CANVAS_EYE_DISTANCE).level[LIPS] + thinner
    opening = torch.from_numpy(signed_distance(moved, INNER_LIPS)) / CANVAS_EYE_DISTANCE
    return outer, opening


def test_lipstick_follows_the_edge_that_the_picture_shows(face: Face) -> None:
    outer, opening = measure_lips(face.mesh, thinner=0.035)
    linear = draw_lips(face, (outer < 0) & (opening > 0), opening <= 0)
    skin = paint.skin_map(linear, CANVAS_EYE_DISTANCE)
    inputs = paint.prepare_paint(geometry.build_product_maps(face.mesh, CANVAS, CANVAS_EYE_DISTANCE, linear), skin)
    code = code_of("lips", RED)
    assert share_outside(code, inputs, outer) < 0.02
    unseen = paint.prepare_paint(geometry.build_product_maps(face.mesh, CANVAS, CANVAS_EYE_DISTANCE), skin)
    assert share_outside(code, unseen, outer) > 0.1
    painted = paint_prepared(code, inputs)[LIPS].abs().amax(0)
    sure = (outer < -0.02) & (opening > 0.03)
    assert float((painted[sure] > 0.4).float().mean()) > 0.95


def test_teeth_that_the_mesh_takes_for_a_lip_stay_white(face: Face) -> None:
    outer, opening = measure_lips(face.mesh)
    _, real = measure_lips(face.mesh, (0.0, 3.0))
    linear = draw_lips(face, outer < 0, real <= 0)
    maps = geometry.build_product_maps(face.mesh, CANVAS, CANVAS_EYE_DISTANCE, linear)
    missed = (real < -0.02) & (opening > 0.01)
    assert int(missed.sum()) > 20
    assert float(maps.gate[LIPS][missed].mean()) < 0.1


def test_lips_without_a_visible_edge_end_where_the_mesh_ends(face: Face) -> None:
    plain = torch.full((3, CANVAS, CANVAS), 0.4)
    actual = geometry.build_product_maps(face.mesh, CANVAS, CANVAS_EYE_DISTANCE, plain)
    expected = geometry.build_product_maps(face.mesh, CANVAS, CANVAS_EYE_DISTANCE)
    assert torch.equal(actual.level, expected.level)


def test_teeth_keep_their_colour(face: Face) -> None:
    row, column = face.at(13, 14)
    assert float(paint_prepared(code_of("lips", RED), face.paint_inputs)[:, :, row, column].abs().max()) < 0.02


@pytest.mark.parametrize("product", ["eyeshadow", "eyeliner", "lashes", "highlight"])
@pytest.mark.parametrize("eye", [(159, 145), (386, 374)])
def test_eyes_keep_their_colour(face: Face, product: str, eye: tuple[int, int]) -> None:
    row, column = face.at(*eye)
    assert (
        float(paint_prepared(code_of(product, (0.0, 0.5, 0.0)), face.paint_inputs)[:, :, row, column].abs().max())
        < 0.02
    )


def test_eyeshadow_fades_from_the_lashes_to_the_brow(face: Face) -> None:
    increments = paint_prepared(code_of("eyeshadow", (0.1, 0.1, 0.1)), face.paint_inputs).sum((0, 1))
    lid, crease, brow = (float(increments[face.at(*points)]) for points in ((27, 159), (27, 28), (52, 53)))
    assert lid > crease > brow


def test_a_wing_leaves_the_eye_upwards(face: Face) -> None:
    liner = paint_prepared(code_of("eyeliner", (0.02, 0.02, 0.02)), face.paint_inputs).sum((0, 1))
    corner_row, corner_column = face.at(33)
    rows, columns = torch.nonzero(liner[:, : corner_column - 3] > 0.3, as_tuple=True)
    assert len(columns) > 0
    assert float(rows.float().mean()) < corner_row


def test_nothing_is_painted_beside_the_face(face: Face) -> None:
    code = torch.zeros(codes.CODE_SHAPE)
    code[:, 3] = 6.0
    assert float(paint_prepared(code, face.paint_inputs)[:, :, :, :8].abs().max()) < 1e-3


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_density_change_is_bounded_for_any_code(face: Face, seed: int) -> None:
    increments = paint_prepared(any_code(seed), face.paint_inputs)
    assert bool(torch.isfinite(increments).all())
    assert float(increments.abs().max()) <= 3.5
    assert float(increments.sum(0).abs().max()) <= 5.0


@given(st.integers(0, 10_000))
def test_skin_and_brows_get_natural_pigments_only(seed: int) -> None:
    decoded = decode(any_code(seed))
    for name in ("blush", "brow"):
        red, green, blue = decoded.pigment[PRODUCTS.index(name)].tolist()
        assert red >= green * 0.99 and red >= blue * 0.99
    contour, highlight = (decoded.pigment[PRODUCTS.index(name)] for name in ("contour", "highlight"))
    assert float(contour.min()) > 0 > float(highlight.max())


@pytest.mark.parametrize("colour", [RED, (0.1, 0.6, 0.3), (0.9, 0.9, 0.9), (0.05, 0.05, 0.05)])
def test_freely_chosen_colours_survive_encoding(colour: tuple[float, float, float]) -> None:
    pigment = decode(code_of("lips", colour)).pigment[LIPS]
    assert torch.allclose(pigment, srgb_to_linear(torch.tensor(colour)), atol=0.02)


def test_opacity_grows_with_the_requested_opacity() -> None:
    opacities = [float(decode(code_of("lips", RED, opacity)).opacity[LIPS]) for opacity in (0.0, 0.3, 0.6, 0.9)]
    assert opacities[0] == 0.0
    assert opacities == sorted(opacities)


def test_gradients_are_those_of_finite_differences(face: Face) -> None:
    torch.manual_seed(0)
    small = PaintInputs(face.paint_inputs.maps[:, 60:200:7, 60:200:7].double(), face.paint_inputs.light.double())
    code = (0.5 * torch.randn(codes.CODE_SHAPE)).double().requires_grad_()
    weight = torch.randn(len(PRODUCTS), 3, *small.maps.shape[1:], dtype=torch.float64)
    torch.autograd.backward((paint_prepared(code, small) * weight).sum())
    assert code.grad is not None
    towards = torch.randn_like(code)
    step = 1e-5 * towards
    with torch.no_grad():
        ahead, behind = ((paint_prepared(code + sign * step, small) * weight).sum() for sign in (1, -1))
    assert float((code.grad * towards).sum()) == pytest.approx(float(ahead - behind) / 2e-5, rel=1e-4)


def test_painting_in_strips_equals_painting_the_whole_face(face: Face) -> None:
    code = code_of("lips", RED)
    strip = paint_prepared(code, face.paint_inputs.with_maps(face.paint_inputs.maps[:, 150:200]))
    assert torch.allclose(strip, paint_prepared(code, face.paint_inputs)[:, :, 150:200], atol=1e-6)


def test_enlarged_maps_paint_the_same_as_larger_maps(face: Face) -> None:
    code = code_of("lips", RED)
    twice = geometry.build_product_maps(face.mesh * 2, 2 * CANVAS, 2 * CANVAS_EYE_DISTANCE)
    skin = F.interpolate(face.skin[None], scale_factor=2, mode="bicubic")[0]
    fine = paint.paint(code, twice, skin).sum(0)
    inputs = paint.prepare_paint(geometry.build_product_maps(face.mesh, CANVAS, CANVAS_EYE_DISTANCE), face.skin)
    enlarged = F.interpolate(inputs.maps[None], scale_factor=2, mode="bicubic")[0]
    coarse = paint_prepared(code, face.paint_inputs.with_maps(enlarged)).sum(0)
    lips = fine.abs() > 0.05
    assert float((fine - coarse).abs()[lips].mean()) < 0.06


@pytest.mark.parametrize("lens", [0.003, 0.05])
def test_sunglasses_get_no_eyeliner_in_bright_light_or_in_shadow(face: Face, lens: float) -> None:
    row, _ = face.at(33, 263)
    linear = face.linear.clone()
    linear[:, row - 30 : row + 30] = lens
    dark = paint.prepare_paint(face.regions, paint.skin_map(linear, CANVAS_EYE_DISTANCE))
    assert float(paint_prepared(code_of("eyeliner", (0.9, 0.9, 0.9)), dark)[LINER].abs().max()) == 0.0
