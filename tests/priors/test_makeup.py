"""The makeup prior on a real face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from c2p_core.colour import linear_to_srgb, srgb_to_linear
from c2p_core.faces.align import CANVAS, LEFT_EYE, RIGHT_EYE, Alignment
from c2p_core.faces.canvas import CanvasFace, gaussian_blur, upsample, warp_points
from c2p_core.faces.paste import paste
from c2p_core.faces.regions import OVAL, brows_distance, eyes_distance, signed_distance
from c2p_core.photo import Photo
from c2p_core.priors.makeup import MakeupFace, MakeupPrior
from c2p_core.priors.prior import Code
from c2p_core.products import geometry
from c2p_core.products.catalogue import PRODUCTS
from c2p_core.products.codes import make_bare_code, product_row


@pytest.fixture(scope="module")
def face(astronaut_canvas: CanvasFace, prior: MakeupPrior) -> MakeupFace:
    return prior.invert(astronaut_canvas, 0.7)


def lipstick() -> torch.Tensor:
    """The product code of red lips."""
    look = make_bare_code()
    look[PRODUCTS.index("lips")] = product_row("lips", (0.7, 0.05, 0.1), 0.8)
    return look


@pytest.fixture
def made_up(astronaut_canvas: CanvasFace, prior: MakeupPrior) -> tuple[MakeupFace, Code]:
    """A face that wears lipstick, and the code that it starts from."""
    face = prior.invert(astronaut_canvas, 0.7).with_look(lipstick())
    return face, face.start()


def make_strong_code(start: Code) -> Code:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(part.shape, generator=generator) for name, part in start.items()}


def test_the_start_has_the_look(made_up: tuple[MakeupFace, Code], astronaut_canvas: CanvasFace) -> None:
    face, start = made_up
    change = face.render(start).pixels - astronaut_canvas.pixels
    x, y = astronaut_canvas.mesh[[0, 17]].mean(0).long().tolist()
    lips = change[:, y - 12 : y + 13, x - 12 : x + 13].mean((1, 2))
    assert float(lips[0] - lips[1]) > 0.02


def test_without_a_look_no_code_paints_anything(astronaut_canvas: CanvasFace, prior: MakeupPrior) -> None:
    face = prior.invert(astronaut_canvas, 0.7).with_look(make_bare_code())
    start = face.start()
    far = {**start, "products": 9.0 * make_strong_code(start)["products"]}
    assert torch.equal(face.render(far).pixels, face.render(start).pixels)
    change = face.change(far)
    assert change.products == () and change.paint(change.maps).shape[0] == 0


def test_a_face_that_nothing_is_painted_on_needs_no_maps_of_products(
    astronaut_canvas: CanvasFace, prior: MakeupPrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geometry, "build_product_maps", lambda *_: pytest.fail("maps are computed"))
    face = prior.invert(astronaut_canvas, 0.65).with_look(make_bare_code())
    face.render(face.start())
    face.change(face.start())


def test_giving_a_face_another_look_does_not_change_the_first_face(
    made_up: tuple[MakeupFace, Code], astronaut_canvas: CanvasFace
) -> None:
    face, start = made_up
    before, bare = face.render(start).pixels, face.with_look(make_bare_code())
    rendered = bare.render(bare.start())
    assert torch.allclose(rendered.pixels, astronaut_canvas.pixels, atol=1e-4)
    assert float(bare.visibility_penalty(rendered)) == 0.0
    assert torch.equal(face.render(start).pixels, before)
    change = bare.change(bare.start())
    assert change.products == () and change.paint(change.maps).shape[0] == 0


def test_the_start_is_the_face_itself(face: MakeupFace, astronaut_canvas: CanvasFace) -> None:
    assert torch.allclose(face.render(face.start()).pixels, astronaut_canvas.pixels, atol=1e-4)


def test_every_part_of_the_code_has_a_gradient(made_up: tuple[MakeupFace, Code]) -> None:
    face, start = made_up
    code = {name: part.clone().requires_grad_() for name, part in start.items()}
    (face.render(code).pixels ** 2).sum().backward()
    for name, part in code.items():
        assert part.grad is not None and float(part.grad.abs().max()) > 0, name


@pytest.mark.parametrize("part", ["products", "complexion", "relief", "texture", "grain", "shape"])
def test_gradients_agree_with_differences(made_up: tuple[MakeupFace, Code], part: str) -> None:
    face, start = made_up
    generator = torch.Generator().manual_seed(1)
    code = make_strong_code(start)
    direction = torch.randn(code[part].shape, generator=generator)
    weights = torch.randn(3, 256, 256, generator=generator)
    point = code[part].clone().requires_grad_()
    (face.render({**code, part: point}).pixels * weights).sum().backward()
    assert point.grad is not None
    step = 2e-2
    ends = [
        float((face.render({**code, part: code[part] + s * direction}).pixels * weights).sum()) for s in (step, -step)
    ]
    slope = (ends[0] - ends[1]) / (2 * step)
    assert float((point.grad * direction).sum()) == pytest.approx(slope, rel=0.12, abs=3.0)


def test_the_paste_equals_the_render_of_the_search(face: MakeupFace, astronaut_canvas: CanvasFace) -> None:
    """On a photo that is the canvas itself, the change for any resolution equals the rendering."""
    code = make_strong_code(face.start())
    pixels = (astronaut_canvas.pixels.permute(1, 2, 0) * 255).round().byte().numpy()
    straight = Alignment(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    pasted = paste(Photo(pixels), [(straight, face.change(code))]).pixels
    rendered = (face.render(code).pixels.detach().permute(1, 2, 0) * 255).numpy()
    assert np.abs(pasted - rendered).mean() < 1.0
    assert np.percentile(np.abs(pasted - rendered), 99) < 12


def test_eyes_stay_where_they_are(face: MakeupFace, astronaut_canvas: CanvasFace) -> None:
    eyes = astronaut_canvas.mesh[list(LEFT_EYE + RIGHT_EYE)]
    moved = warp_points(face.render(make_strong_code(face.start())).displacement, eyes)
    assert float((moved - eyes).norm(dim=1).max()) < 0.01 * 72


def test_eyeballs_and_teeth_keep_their_colours(face: MakeupFace, astronaut_canvas: CanvasFace) -> None:
    code = {
        **face.start(),
        **{part: make_strong_code(face.start())[part] for part in ("complexion", "relief", "texture")},
    }
    changed = (face.render(code).pixels - astronaut_canvas.pixels).abs().amax(0)
    mesh = astronaut_canvas.mesh
    places = {"iris": mesh[[159, 145]].mean(0), "teeth": mesh[[13, 14]].mean(0)}
    for name, (x, y) in places.items():
        assert float(changed[int(y), int(x)]) < 0.02, name


@pytest.mark.parametrize(("gain", "cheeks_least"), [(-9.0, 0.01), (9.0, 0.002)])
def test_texture_spares_brows(face: MakeupFace, astronaut_canvas: CanvasFace, gain: float, cheeks_least: float) -> None:
    """Smoothed or deepened they would be gone, or thin bars."""
    start = face.start()
    code = {**start, "texture": torch.full_like(start["texture"], gain)}
    changed = (face.render(code).pixels - astronaut_canvas.pixels).abs().amax(0)

    def most(x: float, y: float) -> float:
        return float(changed[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5].max())

    mesh = astronaut_canvas.mesh
    brows = [most(*mesh[list(pair)].mean(0).tolist()) for pair in ((105, 66), (334, 296))]
    cheeks = [most(*mesh[place].tolist()) for place in (50, 280)]
    assert max(brows) < 0.01
    assert min(cheeks) > cheeks_least


@pytest.mark.parametrize("strength", [0.7, 1.0])
def test_texture_is_at_most_smoothed_away_and_never_inverted(
    astronaut_canvas: CanvasFace, prior: MakeupPrior, strength: float
) -> None:
    face = prior.invert(astronaut_canvas, strength)
    start = face.start()
    smoothed = face.renderer.relief.light({**start, "texture": torch.full_like(start["texture"], -9.0)})
    assert bool((smoothed.abs() <= face.renderer.relief.texture.abs().sum(0) + 1e-6).all())


@pytest.mark.parametrize(("amplitude", "least", "most"), [(0.02, 0.0, 0.1), (0.5, 0.3, 1.0)])
def test_faint_spots_on_even_skin_are_hardly_deepened_but_clear_ones_are(
    astronaut_canvas: CanvasFace, prior: MakeupPrior, amplitude: float, least: float, most: float
) -> None:
    """Blocks of JPEG, which nobody sees until they are deepened, became stains."""
    even = replace(astronaut_canvas, pixels=gaussian_blur(astronaut_canvas.pixels, 12.0))
    rows, columns = torch.meshgrid(torch.arange(CANVAS), torch.arange(CANVAS), indexing="ij")
    blocks = amplitude * ((rows // 8 + columns // 8) % 2 - 0.5)
    spotted = replace(even, pixels=linear_to_srgb(srgb_to_linear(even.pixels) * torch.exp(-blocks)))
    lights = []
    for face in (prior.invert(even, 0.7), prior.invert(spotted, 0.7)):
        start = face.start()
        deepest = {part: torch.full_like(start[part], 9.0) for part in ("relief", "texture")}
        lights.append(face.renderer.relief.light({**start, **deepest}))
    x, y = astronaut_canvas.mesh[50].long().tolist()
    cheek = (slice(y - 12, y + 12), slice(x - 12, x + 12))
    deepened = float((lights[1] - lights[0])[cheek].std() / blocks[cheek].std())
    assert least < deepened < most


def flatten_colour(canvas: CanvasFace) -> CanvasFace:
    """The same face without any light and shade: all of it is as one of its cheeks."""
    x, y = canvas.mesh[50].long().tolist()
    cheek = canvas.pixels[:, y - 8 : y + 9, x - 8 : x + 9].mean((1, 2))
    return replace(canvas, pixels=cheek[:, None, None].expand(-1, CANVAS, CANVAS).contiguous())


def darken(face: CanvasFace, density: torch.Tensor) -> CanvasFace:
    """The face behind a (256, 256) optical density."""
    return replace(face, pixels=linear_to_srgb(srgb_to_linear(face.pixels) * torch.exp(-density)).clamp(0, 1))


def deepened(prior: MakeupPrior, canvas: CanvasFace, depth: float, strength: float) -> float:
    """By how much a fine line of an optical density can be deepened, as a share of how much it can be softened."""
    x, y = canvas.mesh[50].long().tolist()
    rows, columns = torch.meshgrid(torch.arange(CANVAS), torch.arange(CANVAS), indexing="ij")
    line = depth * torch.exp(-0.5 * ((rows - y) / 1.5) ** 2) * ((columns - x).abs() < 20)
    face = prior.invert(darken(flatten_colour(canvas), line), strength)
    start = face.start()
    deeper, softer = (
        face.renderer.relief.light({**start, "relief": torch.full_like(start["relief"], gain)})[y, x - 5 : x + 6].mean()
        for gain in (9.0, -9.0)
    )
    assert float(softer) * depth < 0.0
    return float(-deeper / softer)


@pytest.mark.parametrize("strength", [0.5, 1.0])
@pytest.mark.parametrize("depth", [0.3, 0.6])
def test_a_fold_is_hardly_deepened(
    astronaut_canvas: CanvasFace, prior: MakeupPrior, depth: float, strength: float
) -> None:
    assert 0.0 < deepened(prior, astronaut_canvas, depth, strength) < 0.15


def test_a_light_line_may_be_heightened_more_than_a_dark_one_is_deepened(
    astronaut_canvas: CanvasFace, prior: MakeupPrior
) -> None:
    dark, light = (deepened(prior, astronaut_canvas, depth, 0.5) for depth in (0.3, -0.3))
    assert light > 1.5 * dark


def render_grain(face: MakeupFace) -> torch.Tensor:
    """(256, 256) density of the strongest grain."""
    start = face.start()
    draw = torch.randn(start["grain"].shape, generator=torch.Generator().manual_seed(0))
    return face.render({**start, "grain": 9.0 * draw}).density[1]


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_grain_lies_where_the_face_is_rough_and_leaves_smooth_skin_alone(
    astronaut_canvas: CanvasFace, prior: MakeupPrior, strength: float
) -> None:
    rough, smooth = (
        (slice(y - 8, y + 9), slice(x - 8, x + 9)) for x, y in astronaut_canvas.mesh[[50, 280]].long().tolist()
    )
    spots = torch.zeros(CANVAS, CANVAS)
    around = slice(rough[0].start - 6, rough[0].stop + 6), slice(rough[1].start - 6, rough[1].stop + 6)
    spots[around] = 0.25 * torch.randn(spots[around].shape, generator=torch.Generator().manual_seed(0))
    grain = render_grain(prior.invert(darken(flatten_colour(astronaut_canvas), spots), strength))
    assert float(grain[rough].std()) > 0.05
    assert float(grain[smooth].std()) < 0.1 * float(grain[rough].std())
    assert float(grain[smooth].abs().max()) < 0.02


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_grain_stays_off_eyeballs_and_within_the_face(
    astronaut_canvas: CanvasFace, prior: MakeupPrior, strength: float
) -> None:
    grain, mesh = render_grain(prior.invert(astronaut_canvas, strength)).abs().numpy(), astronaut_canvas.mesh.numpy()
    eyeballs, face = eyes_distance(mesh) < -2, signed_distance(mesh, OVAL)
    assert eyeballs.sum() > 50 and grain[eyeballs].max() < 0.001
    assert grain[face > 0].max() < 0.001
    assert grain[face > 4].max() == 0.0
    assert grain[face < -14].max() > 0.05


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_tone_never_reaches_the_brows(astronaut_canvas: CanvasFace, prior: MakeupPrior, strength: float) -> None:
    """A brow that gets paler changes the mood."""
    face = prior.invert(astronaut_canvas, strength)
    start = face.start()
    brows = brows_distance(astronaut_canvas.mesh.numpy())
    for sign in (50.0, -50.0):
        tones = {name: sign * make_strong_code(start)[name] for name in ("complexion", "relief", "texture")}
        density = face.render({**start, **tones}).density.abs().amax(0).numpy()
        assert density[brows < 0].max() == 0.0
        assert density[brows > 8].max() > 0.1


def test_a_black_and_white_photo_stays_black_and_white(astronaut_canvas: CanvasFace, prior: MakeupPrior) -> None:
    grey = (astronaut_canvas.pixels * torch.tensor([0.3, 0.6, 0.1])[:, None, None]).sum(0).expand(3, -1, -1)
    face = prior.invert(replace(astronaut_canvas, pixels=grey), 0.7).with_look(lipstick())
    code = make_strong_code(face.start())
    made_up = face.render(code).pixels
    assert float((made_up - grey).abs().max()) > 0.1
    assert float((made_up.amax(0) - made_up.amin(0)).max()) < 0.02

    photo = Photo((grey.permute(1, 2, 0).numpy() * 255).astype(np.uint8))
    alignment = Alignment(np.eye(2, 3))
    pasted = paste(photo, [(alignment, face.change(code))]).pixels.astype(int)
    assert np.ptp(pasted, axis=-1).max() <= 1


def test_the_limits_grow_with_strength(astronaut_canvas: CanvasFace, prior: MakeupPrior) -> None:
    differences = []
    for strength in (0.3, 0.7, 1.0):
        face = prior.invert(astronaut_canvas, strength)
        code = {**make_strong_code(face.start()), "products": face.start()["products"]}
        differences.append(float((face.render(code).pixels - astronaut_canvas.pixels).square().mean()))
    assert differences[0] < differences[1] < differences[2]


def test_the_visibility_penalty_is_zero_within_the_limits_only(face: MakeupFace) -> None:
    start, far = face.start(), make_strong_code(face.start())
    assert float(face.visibility_penalty(face.render(start))) == 0.0
    assert float(face.visibility_penalty(face.render({**start, "shape": 100 * far["shape"]}))) > 0.0


def test_compressed_skin_has_a_visibility_penalty(face: MakeupFace) -> None:
    rendered = face.render(face.start())
    # A wave of two pixels, which is little, but within twelve, which is steep.
    wave = 2.0 * torch.sin(torch.arange(64.0) * (2 * torch.pi * 4 / 12)).expand(2, 64, 64)
    assert float(face.visibility_penalty(replace(rendered, displacement=wave))) > 1.0


def test_no_code_makes_an_edge_in_skin_tone(face: MakeupFace, astronaut_canvas: CanvasFace) -> None:
    # Relief left out: its edges are those that the face has.
    code = {**face.start(), "complexion": 100 * make_strong_code(face.start())["complexion"]}
    left, right = astronaut_canvas.mesh[[205, 425]].long()
    cheeks = face.render(code).density[1, int(left[1]) - 8 : int(left[1]) + 8, int(left[0]) : int(right[0])]
    assert float(cheeks.abs().max()) > 0.05
    assert float(cheeks.diff(dim=1).abs().max()) < 0.026


def test_the_look_itself_has_no_visibility_penalty(made_up: tuple[MakeupFace, Code]) -> None:
    face, start = made_up
    assert float(face.visibility_penalty(face.render(start))) == 0.0


def test_a_hat_does_not_move_where_a_bare_forehead_would(astronaut_canvas: CanvasFace, prior: MakeupPrior) -> None:
    mesh = astronaut_canvas.mesh
    x, y = mesh[50].long().tolist()
    bare = astronaut_canvas.pixels[:, y - 5 : y + 6, x - 5 : x + 6].mean((1, 2))
    forehead = mesh[[10, 151, 9]].mean(0) + torch.stack([torch.linspace(-20, 20, 5), torch.zeros(5)], 1)
    shifts = []
    for colour in (bare, torch.tensor([0.1, 0.2, 0.6])):
        pixels = astronaut_canvas.pixels.clone()
        pixels[:, : int(mesh[105, 1]) - 6] = colour[:, None, None]
        face = prior.invert(CanvasFace(pixels, mesh), 0.7)
        places = warp_points(face.render(make_strong_code(face.start())).displacement, forehead)
        shifts.append(float((places - forehead).norm(dim=1).max()))
    assert shifts[0] > 0.5
    assert shifts[1] < 0.1


def test_the_frame_of_sunglasses_does_not_move(astronaut_canvas: CanvasFace, prior: MakeupPrior) -> None:
    mesh = astronaut_canvas.mesh.numpy()
    eyes = eyes_distance(mesh)
    pixels = astronaut_canvas.pixels.clone()
    pixels[:, torch.from_numpy(eyes < 16)] = 0.02
    rim = (eyes > 17) & (eyes < 21) & (np.arange(CANVAS)[:, None] < mesh[1, 1])
    # A frame of the skin's own colour, which no colour gives away.
    pixels[:, torch.from_numpy(rim)] = astronaut_canvas.pixels[:, 150, 110, None]
    shifts = []
    for canvas in (astronaut_canvas, replace(astronaut_canvas, pixels=pixels)):
        face = prior.invert(canvas, 0.7)
        displacement = upsample(
            face.render({**face.start(), "shape": make_strong_code(face.start())["shape"]}).displacement
        )
        shifts.append(float(displacement.norm(dim=0)[torch.from_numpy(rim)].mean()))
    assert shifts[1] < 0.05 * shifts[0]
