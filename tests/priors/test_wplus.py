"""The prior stylegan2 on a real face, with a small generator of random weights."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from c2p_core import pipeline
from c2p_core.accelerated import put_channels_last
from c2p_core.api import DEFAULT_CLIP, CancelToken, Mode, ProtectRequest
from c2p_core.errors import Cancelled, Message, ModelUnavailable
from c2p_core.faces.align import CANVAS, CANVAS_EYE_DISTANCE, Alignment
from c2p_core.faces.canonical import load_mean_face
from c2p_core.faces.canvas import CanvasFace, warp_points
from c2p_core.faces.layers import build_layers
from c2p_core.faces.paste import paste
from c2p_core.faces.regions import LEFT_BROW, OUTER_LIPS, RIGHT_BROW
from c2p_core.guidance.clip import TextGuidance
from c2p_core.models.loaded import WarmModels, load_models, load_prior
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.priors import checkpoints, inversion, perceptual, wplus
from c2p_core.priors.checkpoint_files import FOLDER, GENERATORS
from c2p_core.priors.expression import EYES
from c2p_core.priors.inversion import (
    Inversion,
    InversionSettings,
    ffhq_transform,
    fingerprint,
    fixed_rows,
    frozen_layers,
    invert,
    psnr,
    synthesise,
    tuned_parameters,
    working_side,
)
from c2p_core.priors.inversion_cache import InversionCache, MemoryInversions
from c2p_core.priors.perceptual import Perceptual
from c2p_core.priors.prior import Resources
from c2p_core.priors.shape import SIZE
from c2p_core.priors.strength import compute_strength_limits
from c2p_core.priors.stylegan2 import Encoder, EncoderShape, Generator, GeneratorShape
from c2p_core.priors.wplus import Networks, WPlusFace, WPlusPrior, load_networks
from c2p_core.starting_look import choose_starting_look
from c2p_core.worker.jobs import Jobs
from c2p_core.worker.protocol import Picture, pack
from tests.error_assertions import raising

CPU = torch.device("cpu")
SHAPE = GeneratorShape((32, 32, 24, 16, 8), style=24, mapping=2)
ENCODER = EncoderShape(SHAPE.codes, 24, 32, (16, 20, 24, 32), (1, 1, 1, 1), 8)
QUICK = InversionSettings(latent_steps=2, tuning_steps=6)


@pytest.fixture(scope="module")
def networks(store: ModelStore) -> Networks:
    torch.manual_seed(0)
    generator, encoder = Generator(SHAPE), Encoder(ENCODER)
    for rgb in generator.rgbs:
        rgb.weight.data *= 0.2  # random weights are far too colourful for a face
    for layer in generator.styled_layers():
        layer.noise_strength.data.fill_(0.1)
    frozen = generator.eval().requires_grad_(False), encoder.eval().requires_grad_(False)
    perceptual = Perceptual(store.obtain("faceres"), CPU)
    return Networks(*frozen, wplus.principal_axes(frozen[0]), perceptual, fingerprint(*frozen))


@pytest.fixture(scope="module")
def mean_face(store: ModelStore) -> np.ndarray:
    return load_mean_face(store.obtain("complexion"))


@pytest.fixture
def prior(networks: Networks, mean_face: np.ndarray, tmp_path: Path) -> WPlusPrior:
    return WPlusPrior(networks, mean_face, CPU, InversionCache(tmp_path / "cache"), pytest.fail, settings=QUICK)


@pytest.fixture(scope="module")
def face(
    networks: Networks, mean_face: np.ndarray, astronaut_canvas: CanvasFace, tmp_path_factory: pytest.TempPathFactory
) -> WPlusFace:
    cache = InversionCache(tmp_path_factory.mktemp("cache"))
    prior = WPlusPrior(networks, mean_face, CPU, cache, pytest.fail, settings=QUICK, free_noise=True)
    return prior.invert(astronaut_canvas, 0.7)


def moved_code(face: WPlusFace, scale: float = 1.0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {name: scale * torch.randn(part.shape, generator=draw) for name, part in face.start().items()}


@pytest.mark.parametrize(("codes", "fixed"), [(18, 8), (16, 6), (12, 2), (10, 1), (6, 1)])
def test_the_coarse_rows_are_fixed_in_every_size(codes: int, fixed: int) -> None:
    assert fixed_rows(codes) == fixed


@pytest.mark.parametrize("levels", [3, 5, 6])
def test_tuning_does_not_change_layers_before_the_free_rows(levels: int) -> None:
    generator = Generator(GeneratorShape((8,) * levels, style=8, mapping=1)).requires_grad_(False)
    codes = torch.randn(1, generator.shape.codes, 8, generator=torch.Generator().manual_seed(0))
    first = frozen_layers(generator.shape.codes)
    before = generator.synthesise_layers(codes, first)
    for parameter in tuned_parameters(generator).values():
        parameter += 1.0
    assert torch.equal(generator.synthesise_layers(codes, first).features, before.features)
    assert len(tuned_parameters(generator)) > 0


def test_the_start_is_the_face_itself(face: WPlusFace, astronaut_canvas: CanvasFace) -> None:
    rendered = face.render(face.start())
    assert torch.allclose(rendered.pixels, astronaut_canvas.pixels, atol=1e-4)
    assert float(face.latent_loss(face.start(), rendered)) == 0.0 and float(face.visibility_penalty(rendered)) == 0.0


def test_fixed_rows_stay_bit_identical_and_free_rows_move(face: WPlusFace) -> None:
    rows, fixed = face.rows(moved_code(face)), fixed_rows(SHAPE.codes)
    assert torch.equal(rows[:fixed], face.inversion.codes[:fixed])
    assert bool(((rows - face.inversion.codes)[fixed:].abs().amax(1) > 0).all())


def test_brows_move_only_without_keep_expression_and_eyes_never(
    prior: WPlusPrior, astronaut_canvas: CanvasFace
) -> None:
    mesh, shifts = astronaut_canvas.mesh, {}
    for keep in (True, False):
        face = prior.invert(astronaut_canvas, 0.7, keep)
        shifts[keep] = (warp_points(face.render(moved_code(face, 3.0)).displacement, mesh) - mesh).abs()
        assert float(shifts[keep][list(EYES)].max()) < 0.01
    brows = [*LEFT_BROW, *RIGHT_BROW]
    assert float(shifts[True][brows].max()) < 0.01 and float(shifts[False][brows].max()) > 0.5


def test_locked_brows_do_not_move(prior: WPlusPrior, astronaut_canvas: CanvasFace) -> None:
    face, mesh = prior.invert(astronaut_canvas, 0.7, False, ("brows",)), astronaut_canvas.mesh
    shifts = (warp_points(face.render(moved_code(face, 3.0)).displacement, mesh) - mesh).abs()
    assert float(shifts[[*LEFT_BROW, *RIGHT_BROW]].max()) == 0.0 and float(shifts.max()) > 0.5


def test_no_row_changes_by_more_than_its_limit(face: WPlusFace) -> None:
    away = [face.rows(moved_code(face, scale)) - face.inversion.codes for scale in (10.0, 1000.0)]
    assert float(away[1].norm()) < 1.2 * float(away[0].norm())


@pytest.mark.parametrize("keep", [True, False])
def test_no_pixel_moves_farther_than_with_the_makeup_prior(
    prior: WPlusPrior, astronaut_canvas: CanvasFace, keep: bool
) -> None:
    face, limit = (
        prior.invert(astronaut_canvas, 0.7, keep),
        compute_strength_limits(0.7, keep).shape * CANVAS_EYE_DISTANCE,
    )
    shifts = face.render(moved_code(face, 100.0)).displacement.norm(dim=0)
    assert 0.5 * limit < float(shifts.max()) <= limit


def test_a_step_along_each_axis_is_one_standard_deviation_of_w(networks: Networks) -> None:
    axes = networks.axes
    z = torch.randn(4096, SHAPE.style, generator=torch.Generator().manual_seed(1))
    w = networks.generator.mapping(z)
    along = (w - w.mean(0)) @ axes.T / axes.norm(dim=1) ** 2
    assert torch.allclose(along.std(0), torch.ones(SHAPE.style), atol=0.1)
    across = (along.T @ along / len(along)).fill_diagonal_(0.0)
    assert float(across.abs().max()) < 0.1


def test_every_part_of_the_code_has_gradients(face: WPlusFace) -> None:
    code = {name: part.requires_grad_() for name, part in moved_code(face, 0.3).items()}
    (face.render(code).pixels ** 2).sum().backward()
    for name in ("codes", "noise", "relief", "texture", "grain", "shape"):
        slope = code[name].grad
        assert slope is not None and bool(torch.isfinite(slope).all()) and float(slope.abs().max()) > 0, name


@pytest.mark.parametrize("part", ["codes", "noise", "shape"])
def test_an_unlikely_code_has_a_higher_latent_loss(face: WPlusFace, part: str) -> None:
    code = face.start()
    likely = float(face.latent_loss(code, face.render(code)))
    code[part] = code[part] + 1.0
    assert float(face.latent_loss(code, face.render(code))) > likely


def test_the_starting_look_is_painted_before_the_search(
    prior: WPlusPrior, astronaut_canvas: CanvasFace, store: ModelStore
) -> None:
    face = prior.invert(astronaut_canvas, 0.7)
    guidance = TextGuidance(store, CPU)
    face = face.with_look(choose_starting_look("red lipstick", face.preview, astronaut_canvas.mesh, guidance))
    made_up = face.render(face.start()).pixels - astronaut_canvas.pixels
    lips = astronaut_canvas.mesh[list(OUTER_LIPS)].mean(0).round().int().tolist()
    red, green, _ = made_up[:, lips[1] - 6 : lips[1] + 6, lips[0] - 8 : lips[0] + 8].mean((1, 2))
    assert float(red - green) > 0.03


def test_nothing_changes_outside_the_face(face: WPlusFace, astronaut_canvas: CanvasFace) -> None:
    away = (face.render(moved_code(face, 3.0)).pixels - astronaut_canvas.pixels).abs()
    assert float(away[:, :8].max()) < 1e-3 and float(away[:, :, :8].max()) < 1e-3
    assert float(away.max()) > 0.02


@pytest.mark.parametrize(("wider", "longer"), [(0.3, 0.0), (0.0, 0.3), (-0.3, -0.3)])
def test_the_displacement_solver_recovers_most_of_a_smooth_displacement(
    face: WPlusFace, wider: float, longer: float
) -> None:
    """Such as a generator makes when a face gets wider or longer, within the conditions of expression."""
    field, solver = face.renderer.field, face.displacement_solver
    code = torch.cat([torch.full((SIZE,), wider), torch.full((SIZE,), longer)])
    shift = field.displacement(code, solver.limit)
    assert float(shift.norm(dim=0).max()) > 2.0
    grid = wplus.grid_centres(64, CPU) + shift.permute(1, 2, 0) * (2.0 / CANVAS)
    after = torch.nn.functional.grid_sample(solver.before[None], grid[None], align_corners=False)[0]
    shape, moved = solver.fit(after)
    recovered = field.displacement(shape, solver.limit)
    assert float((recovered - shift).square().mean()) < 0.5 * float(shift.square().mean())
    assert float((moved - after).square().mean()) < 0.5 * float((solver.before - after).square().mean())


def test_the_photo_is_moved_and_toned_and_never_replaced(face: WPlusFace, astronaut: Photo) -> None:
    """A generator that sees no grain changes none: at twice the size grain of single pixels is still there."""
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    alignment = Alignment(np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))
    pasted = paste(Photo(noise), [(alignment, face.change(moved_code(face)))]).pixels
    assert not np.array_equal(pasted, noise)
    grain = [np.diff(pixels.astype(float), axis=1)[200:300, 200:300].std() for pixels in (noise, pasted)]
    assert grain[1] > 0.6 * grain[0]
    assert np.array_equal(pasted[:8], noise[:8])


def test_the_layers_of_a_change_without_a_prompt_are_skin_and_foundation(face: WPlusFace, astronaut: Photo) -> None:
    alignment = Alignment(np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))
    layers = build_layers(astronaut, [(alignment, face.change(moved_code(face)))])
    assert {layer.name for layer in layers} <= {"Reshaped skin", "Foundation"} and layers


def test_the_crop_is_aligned_as_ffhq_is(astronaut_canvas: CanvasFace) -> None:
    mesh = astronaut_canvas.mesh.numpy()
    matrix = ffhq_transform(mesh, 1024)
    inverse = np.linalg.inv(matrix[:, :2])
    eyes = [(inverse @ (mesh[list(eye)].mean(0) - matrix[:, 2])) for eye in (inversion.LEFT_EYE, inversion.RIGHT_EYE)]
    # Where FFHQ's own faces have their eyes.
    assert np.allclose(eyes[0], [385, 480], atol=25) and np.allclose(eyes[1], [640, 480], atol=25)


# Inversion.


def test_tuning_raises_the_psnr(networks: Networks, astronaut_canvas: CanvasFace) -> None:
    picture = torch.nn.functional.interpolate(astronaut_canvas.pixels[None], (64, 64), mode="area")[0] * 2 - 1
    mask = torch.ones(1, 64, 64)
    reached = [
        invert(
            networks.generator, networks.encoder, picture, mask, networks.perceptual, replace(QUICK, tuning_steps=steps)
        ).quality
        for steps in (0, 40)
    ]
    assert reached[1] > reached[0] + 2


def test_tuning_stops_at_its_target_psnr(networks: Networks, astronaut_canvas: CanvasFace) -> None:
    picture, steps = torch.zeros(3, 64, 64), []
    settings = replace(QUICK, tuning_steps=50, target=3.0)
    invert(
        networks.generator,
        networks.encoder,
        picture,
        torch.ones(1, 64, 64),
        networks.perceptual,
        settings,
        lambda s, _: steps.append(s),
    )
    assert len(steps) < 50


def test_a_generator_beyond_256_pixels_is_inverted_and_tuned_at_256(networks: Networks) -> None:
    torch.manual_seed(0)
    shape = GeneratorShape((8,) * 8, style=8, mapping=1)
    generator, encoder = Generator(shape), Encoder(EncoderShape(shape.codes, 8, 32, (16, 20, 24, 32), (1, 1, 1, 1), 8))
    for network in (generator, encoder):
        network.eval().requires_grad_(False)
    side = working_side(generator)
    picture, mask = torch.rand(3, side, side) * 2 - 1, torch.ones(1, side, side)
    settings = replace(QUICK, latent_steps=1, tuning_steps=1)
    inversion = invert(generator, encoder, picture, mask, networks.perceptual, settings)
    assert (shape.size, side, inversion.codes.shape) == (512, 256, (16, 8))
    # From the first free row to 256 px; a layer of 512 px would have no gradient and stay.
    tuned = {name.split(".")[1] for name in inversion.weights if name.startswith("layers.")}
    assert tuned == {str(layer) for layer in range(frozen_layers(16), 13)}
    original = dict(generator.named_parameters())
    assert all(not torch.equal(weight, original[name]) for name, weight in inversion.weights.items())
    reproduced = synthesise(generator, inversion.weights, inversion.codes[None], size=side)
    assert inversion.quality == psnr(reproduced, picture[None], mask)


@pytest.mark.slow
def test_inverting_a_face_does_not_affect_the_next_one(
    networks: Networks, mean_face: np.ndarray, astronaut_canvas: CanvasFace, tmp_path: Path
) -> None:
    other = CanvasFace(astronaut_canvas.pixels.flip(0), astronaut_canvas.mesh)
    before = copy.deepcopy(networks.generator.state_dict())

    def inverted(name: str, face: CanvasFace) -> Inversion:
        prior = WPlusPrior(networks, mean_face, CPU, InversionCache(tmp_path / name), pytest.fail, settings=QUICK)
        return prior.invert(face, 0.7).inversion

    alone = inverted("alone", other)
    inverted("row", astronaut_canvas)
    after = inverted("row", other)
    assert torch.equal(alone.codes, after.codes) and alone.quality == after.quality
    assert all(torch.equal(alone.weights[name], after.weights[name]) for name in alone.weights)
    assert all(torch.equal(value, before[name]) for name, value in networks.generator.state_dict().items())


def test_a_second_prompt_on_the_same_face_skips_the_inversion(
    prior: WPlusPrior, astronaut_canvas: CanvasFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prior.invert(astronaut_canvas, 0.7)
    monkeypatch.setattr(wplus, "invert", lambda *_: pytest.fail("it was inverted again"))
    second = prior.invert(astronaut_canvas, 0.3)
    assert torch.equal(first.inversion.codes, second.inversion.codes)


def test_cached_inversions_are_not_used_with_other_weights(
    networks: Networks, mean_face: np.ndarray, astronaut_canvas: CanvasFace, tmp_path: Path
) -> None:
    cache = InversionCache(tmp_path)
    for name in ("one", "two"):
        renamed = replace(networks, fingerprint=name)
        WPlusPrior(renamed, mean_face, CPU, cache, pytest.fail, settings=QUICK).invert(astronaut_canvas, 0.7)
    assert len(cache.entries()) == 2


def test_a_cancelled_inversion_is_not_cached(
    networks: Networks, mean_face: np.ndarray, astronaut_canvas: CanvasFace, tmp_path: Path
) -> None:
    def stop(step: int, steps: int) -> None:
        if step == 3:
            raise Cancelled("cancelled")

    cache = InversionCache(tmp_path / "cache")
    with pytest.raises(Cancelled):
        WPlusPrior(networks, mean_face, CPU, cache, pytest.fail, stop, QUICK).invert(astronaut_canvas, 0.7)
    assert cache.entries() == []


@pytest.mark.parametrize(
    ("failures", "said"),
    [
        (1, ["inversion-in-main-memory"]),
        (2, ["inversion-without-tuning"]),
        (3, ["inversion-on-processor"]),
    ],
)
def test_out_of_gpu_memory_the_inversion_takes_less_of_it_skips_tuning_and_moves_to_the_processor(
    networks: Networks,
    mean_face: np.ndarray,
    tmp_path: Path,
    astronaut_canvas: CanvasFace,
    monkeypatch: pytest.MonkeyPatch,
    failures: int,
    said: list[str],
) -> None:
    failures_left = [failures]
    messages: list[Message] = []
    cache = InversionCache(tmp_path / "cache")

    def run_out_of_memory(*arguments: object) -> Inversion:
        failures_left[0] -= 1
        if failures_left[0] >= 0:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return invert(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(wplus, "invert", run_out_of_memory)
    face = WPlusPrior(networks, mean_face, CPU, cache, messages.append, settings=QUICK).invert(astronaut_canvas, 0.7)
    assert face.inversion.quality > 0
    assert [message.code for message in messages] == said
    # An inversion without tuning must not be cached.
    assert len(cache.entries()) == (failures != 2)


def test_the_inversion_does_not_fall_back_while_the_run_has_recordings(
    store: ModelStore, astronaut_canvas: CanvasFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_without_memory(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(wplus, "invert", fail_without_memory)
    messages: list[Message] = []
    resources = Resources(
        store,
        CPU,
        WarmModels().get,
        MemoryInversions(),
        False,
        messages.append,
        lambda step, steps: None,
        recorded=True,
    )
    with pytest.raises(torch.cuda.OutOfMemoryError):
        load_prior("stylegan2", resources).invert(astronaut_canvas, 0.7)
    assert messages == []


def test_out_of_gpu_memory_the_networks_are_not_copied_on_the_card(
    networks: Networks,
    mean_face: np.ndarray,
    tmp_path: Path,
    astronaut_canvas: CanvasFace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failures_left, cache = [3], InversionCache(tmp_path / "cache")
    prior = WPlusPrior(networks, mean_face, CPU, cache, lambda message: None, settings=QUICK)

    def fail_without_memory(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError

    def run_out_of_memory(*arguments: object) -> Inversion:
        failures_left[0] -= 1
        if failures_left[0] >= 0:
            fail_without_memory()
        return invert(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(wplus, "invert", run_out_of_memory)
    monkeypatch.setattr(Tensor, "__deepcopy__", fail_without_memory)
    monkeypatch.setattr(torch.nn.Parameter, "__deepcopy__", fail_without_memory)
    assert prior.invert(astronaut_canvas, 0.7).inversion.quality > 0


def test_networks_are_placed_as_a_card_prefers_them(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    placed: list[tuple[str, torch.device]] = []

    def watch(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
        placed.append((type(network).__name__, device))
        return network

    for module in (wplus, perceptual):
        monkeypatch.setattr(module, "move_network", watch)
    load_networks(store, CPU)
    assert sorted(placed) == [("Encoder", CPU), ("Faceres", CPU), ("Generator", CPU)]


def test_networks_give_the_same_result_with_channels_last(networks: Networks, store: ModelStore) -> None:
    codes = torch.randn(1, SHAPE.codes, SHAPE.style, generator=torch.Generator().manual_seed(0))
    picture = torch.rand(1, 3, SHAPE.size, SHAPE.size, generator=torch.Generator().manual_seed(1))

    def differentiate(last: bool) -> list[Tensor]:
        generator, encoder = copy.deepcopy((networks.generator, networks.encoder))
        distance = Perceptual(store.obtain("faceres"), CPU)
        for network in (generator, encoder, distance.network) if last else ():
            put_channels_last(network)
        leaf = codes.clone().requires_grad_()
        weights = {n: p.detach().clone().requires_grad_() for n, p in tuned_parameters(generator).items()}
        rendered = synthesise(generator, weights, leaf)
        loss = distance.distance(rendered, picture)
        gradients = torch.autograd.grad(loss, [leaf, *weights.values()])
        return [rendered.detach(), encoder(picture[:, :, : ENCODER.size, : ENCODER.size]), loss.detach(), *gradients]

    for actual, expected in zip(differentiate(True), differentiate(False), strict=True):
        # Rounding turns the sign of a difference here and there, of which the distance takes the absolute value.
        assert torch.cosine_similarity(actual.flatten(), expected.flatten(), dim=0) > 0.9999
        assert float((actual - expected).norm()) < 0.01 * float(expected.norm())


# Weights of the user's.


@pytest.fixture
def user_store(tmp_path: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    user = ModelStore(tmp_path, offline=True)
    (tmp_path / FOLDER).mkdir()
    monkeypatch.setattr(user, "obtain", store.obtain)
    return user


def test_the_shipped_weights_are_used_without_checkpoints_of_the_users(user_store: ModelStore) -> None:
    networks = load_networks(user_store, CPU)
    assert networks.generator.shape.size == 128 and networks.encoder.shape.codes == networks.generator.shape.codes


def test_checkpoints_added_between_runs_are_used(user_store: ModelStore, networks: Networks, astronaut: Photo) -> None:
    warm, request = WarmModels(), ProtectRequest(astronaut, prior="stylegan2", clip=DEFAULT_CLIP)

    def get_used_shape() -> GeneratorShape:
        prior = load_models(request, user_store, CPU, [], warm).prior
        assert isinstance(prior, WPlusPrior)
        return prior.networks.generator.shape

    assert get_used_shape() != SHAPE
    for slot in ("generator", "encoder"):
        checkpoints.save(user_store.root / FOLDER / f"{slot}.safetensors", networks.generator, networks.encoder)
    assert get_used_shape() == SHAPE


@pytest.mark.parametrize(("there", "missing"), [("generator", "encoder"), ("encoder", "generator")])
def test_a_generator_or_an_encoder_alone_is_refused(user_store: ModelStore, there: str, missing: str) -> None:
    (user_store.root / FOLDER / f"{there}.pt").touch()
    with raising(ModelUnavailable, "checkpoint-alone", file=f"{there}.pt", missing=missing):
        load_networks(user_store, CPU)


def test_the_users_encoder_is_used_with_the_fetched_generator(tmp_path: Path, networks: Networks) -> None:
    fetched = tmp_path / "stylegan2-ffhq" / GENERATORS["stylegan2-ffhq"]
    fetched.parent.mkdir()
    weights = networks.generator.state_dict()
    stored = [tensor for tensor in checkpoints.rosinality_layout(SHAPE) if tensor.ours]
    torch.save({"g_ema": {tensor.name: weights[tensor.ours].reshape(tensor.shape) for tensor in stored}}, fetched)
    store = ModelStore(tmp_path, offline=True)
    # By itself it is of no use.
    assert load_networks(store, CPU).generator.shape != SHAPE
    (tmp_path / FOLDER).mkdir()
    checkpoints.save(tmp_path / FOLDER / "encoder.safetensors", networks.generator, networks.encoder)
    assert load_networks(store, CPU).generator.shape == SHAPE
    assert [notice.code for notice in store.take_notices()] == ["model-pinned"]
    torch.save({"g_ema": {}}, fetched)
    with raising(ModelUnavailable, "model-changed", name="stylegan2-ffhq"):
        load_networks(ModelStore(tmp_path, offline=True), CPU)


@pytest.mark.parametrize("slots", [("generator", "encoder")])
def test_the_users_checkpoints_are_used(user_store: ModelStore, networks: Networks, slots: tuple[str, ...]) -> None:
    for slot in slots:
        checkpoints.save(user_store.root / FOLDER / f"{slot}.safetensors", networks.generator, networks.encoder)
    assert load_networks(user_store, CPU).generator.shape == SHAPE


def test_a_generator_and_an_encoder_of_different_sizes_are_refused(user_store: ModelStore, networks: Networks) -> None:
    smaller = Generator(GeneratorShape(SHAPE.channels[:4], SHAPE.style, SHAPE.mapping))
    checkpoints.save(user_store.root / FOLDER / "generator.safetensors", smaller, networks.encoder)
    checkpoints.save(user_store.root / FOLDER / "encoder.safetensors", networks.generator, networks.encoder)
    with raising(ModelUnavailable, "codes-differ", given="10 x 24", taken="8 x 24"):
        load_networks(user_store, CPU)


def test_swapped_generator_and_encoder_files_are_refused(user_store: ModelStore, networks: Networks) -> None:
    from safetensors.torch import save_file

    for slot, network, prefix in (
        ("generator", networks.encoder, "encoder"),
        ("encoder", networks.generator, "generator"),
    ):
        state = {f"{prefix}.{name}": value for name, value in network.state_dict().items()}
        save_file(state, user_store.root / FOLDER / f"{slot}.safetensors")
    with raising(ModelUnavailable, "checkpoint-no-generator", file="generator.safetensors"):
        load_networks(user_store, CPU)


@pytest.mark.slow
def test_the_shipped_generator_inverts_a_face_outside_its_training_data(
    user_store: ModelStore, mean_face: np.ndarray, astronaut_canvas: CanvasFace, tmp_path: Path
) -> None:
    shipped = load_networks(user_store, CPU)
    face = WPlusPrior(shipped, mean_face, CPU, InversionCache(tmp_path / "cache"), pytest.fail).invert(
        astronaut_canvas, 0.7
    )
    assert face.inversion.quality > 26


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "free_noise"), [("dodge", False), ("decoy", False), ("dodge", True)])
def test_a_whole_photo_is_searched_in_both_modes_and_with_free_noise(
    user_store: ModelStore,
    networks: Networks,
    astronaut: Photo,
    mode: Mode,
    free_noise: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("C2P_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(wplus, "InversionSettings", lambda: QUICK)
    for slot in ("generator", "encoder"):
        checkpoints.save(user_store.root / FOLDER / f"{slot}.safetensors", networks.generator, networks.encoder)
    request = ProtectRequest(
        astronaut, "red lipstick", mode=mode, prior="stylegan2", steps=2, hold_out="dlib", free_noise=free_noise
    )
    warm = WarmModels()
    result = pipeline.protect(request, store=user_store, warm=warm)
    assert result.faces[0].steps == 2
    assert [warning.code for warning in result.warnings] == ["own-generator-used"]
    assert not np.array_equal(result.photo.pixels, astronaut.pixels)
    again = pipeline.protect(request, store=user_store, warm=warm)
    assert np.array_equal(again.photo.pixels, result.photo.pixels)


@pytest.mark.slow
def test_the_worker_caches_inversions_in_memory_only(
    user_store: ModelStore, networks: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C2P_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(wplus, "InversionSettings", lambda: QUICK)
    checkpoints.save(user_store.root / FOLDER / "generator.safetensors", networks.generator, networks.encoder)
    checkpoints.save(user_store.root / FOLDER / "encoder.safetensors", networks.generator, networks.encoder)
    jobs = Jobs(user_store)
    before = set(tmp_path.rglob("*"))
    sent = [Picture("photo", 0, 0, data.astronaut())]

    def protect() -> None:
        job = pack({"kind": "protect", "job": 1, "prior": "stylegan2", "steps": 1}, sent)
        assert jobs.run(job, lambda _said: None, CancelToken()).entries

    protect()
    monkeypatch.setattr(wplus, "invert", lambda *_: pytest.fail("it was inverted again"))
    protect()
    assert set(tmp_path.rglob("*")) == before
