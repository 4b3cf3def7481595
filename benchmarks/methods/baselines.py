"""Baselines that the product is compared with: pixel noise optimised on the same surrogates, and disguises.

The noise methods get what the product gets: the same recognisers (one family held out), the same random
transformations, one recogniser of each family per step and the same number of steps, each with a forward and a backward
pass. They end at the last step; the product may stop earlier. Their noise on the canvas is added to the photo, on the
face alone, as the product changes the face alone: anything beside it would be visible and protect nobody.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from benchmarks.metrics.face_masks import make_face_mask
from benchmarks.metrics.image_quality import to_rgb8
from benchmarks.recognisers import load_every_recogniser
from c2p_core import verify
from c2p_core.api import Face
from c2p_core.device import pick_device
from c2p_core.eot import draw_transform
from c2p_core.faces.align import CANVAS, align, transform_points
from c2p_core.faces.canvas import CanvasFace
from c2p_core.faces.view import View
from c2p_core.io.rgb8 import Rgb8, as_bytes
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.recognition import Recogniser
from c2p_core.search import SearchSettings

# At strength 1: the largest change of a pixel's value, and a blur's sigma and a cell's side in eye distances.
NOISE = 32 / 255
BLUR = 0.5
CELL = 1.0

# Sigma of smoothed gradients in canvas pixels.
_SMOOTH = 3.0
# Noise fades out over this many canvas pixels towards the face's outline.
_FADE = 4.0

Update = Callable[[Tensor, Tensor, float, int], Tensor]
"""Maps noise, gradient, the noise's bound and the number of steps to the next noise, not yet clipped to the bound."""


def _step_by_sign(noise: Tensor, gradient: Tensor, bound: float, steps: int) -> Tensor:
    return noise - 2.5 * bound / steps * gradient.sign()


def _step_by_length(noise: Tensor, gradient: Tensor, bound: float, steps: int) -> Tensor:
    """A step as long as one by sign, but largest where the gradient is strongest."""
    return noise - 2.5 * bound / steps * gradient / gradient.square().mean().sqrt().clamp(min=1e-12)


def _add_momentum(update: Update) -> Update:
    """Steps along a momentum of normalised gradients (MI-FGSM, Dong et al. 2018)."""
    momentum = torch.zeros(())

    def step(noise: Tensor, gradient: Tensor, bound: float, steps: int) -> Tensor:
        nonlocal momentum
        momentum = momentum + gradient / gradient.abs().mean().clamp(min=1e-12)
        return update(noise, momentum, bound, steps)

    return step


def _smooth_gradients(update: Update) -> Update:
    """Translation-invariant gradients (Dong et al. 2019)."""

    def step(noise: Tensor, gradient: Tensor, bound: float, steps: int) -> Tensor:
        soft = ndimage.gaussian_filter(gradient.numpy(), (0, _SMOOTH, _SMOOTH))
        return update(noise, torch.from_numpy(soft), bound, steps)

    return step


def pgd(
    photo: Photo, face: Face, strength: float, hold_out: str, steps: int | None, seed: int, store: ModelStore
) -> Photo:
    """Projected gradient descent from a random start (Madry et al. 2018): the noise of Fawkes and LowKey."""
    return _optimise_noise(photo, face, strength, hold_out, steps, seed, store, _step_by_sign, random_start=True)


def mi_fgsm(
    photo: Photo, face: Face, strength: float, hold_out: str, steps: int | None, seed: int, store: ModelStore
) -> Photo:
    """Momentum iterative FGSM (Dong et al. 2018)."""
    return _optimise_noise(photo, face, strength, hold_out, steps, seed, store, _add_momentum(_step_by_sign))


def masked_noise(
    photo: Photo, face: Face, strength: float, hold_out: str, steps: int | None, seed: int, store: ModelStore
) -> Photo:
    """Like TIP-IM (Yang et al. 2021): momentum, and steps by length; without the targets that it chooses from."""
    return _optimise_noise(photo, face, strength, hold_out, steps, seed, store, _add_momentum(_step_by_length))


def smooth_noise(
    photo: Photo, face: Face, strength: float, hold_out: str, steps: int | None, seed: int, store: ModelStore
) -> Photo:
    """Momentum along smoothed gradients: coarser noise, which transfers best."""
    return _optimise_noise(
        photo, face, strength, hold_out, steps, seed, store, _smooth_gradients(_add_momentum(_step_by_sign))
    )


def _optimise_noise(
    photo: Photo,
    face: Face,
    strength: float,
    hold_out: str,
    steps: int | None,
    seed: int,
    store: ModelStore,
    update: Update,
    random_start: bool = False,
) -> Photo:
    device = pick_device("auto")
    recognisers = [r for r in load_every_recogniser(store) if r.family != hold_out]
    canvas = verify.crop_face(View(photo), face)
    embeddings = verify.embed_face(canvas, recognisers, device)
    mask = _make_faded_mask(canvas)
    generator = torch.Generator().manual_seed(seed)
    bound, count = NOISE * strength, steps or SearchSettings().steps
    noise = torch.zeros(canvas.pixels.shape)
    if random_start:
        noise = (2 * torch.rand(canvas.pixels.shape, generator=generator) - 1) * bound
    for step in range(count):
        noise.requires_grad_()
        transform = draw_transform(generator)
        perturbed = (canvas.pixels + mask * noise).clamp(0, 1)
        augmented = transform.apply_image(perturbed, generator)[None].to(device)
        mesh = transform.apply_landmarks(canvas.mesh)[None].to(device)
        active = _pick_one_per_family(recognisers, step)
        # In standard deviations over impostor pairs, so that none counts for more because its similarities differ more.
        losses = [(r.embed(augmented, mesh)[0] @ embeddings[r.name] - r.far1) / r.impostor_std for r in active]
        (gradient,) = torch.autograd.grad(torch.stack(losses).mean(), noise)
        noise = update(noise.detach(), gradient, bound, count).clamp(-bound, bound)
    return Photo(add_change(to_rgb8(photo), face, (canvas.pixels + mask * noise).clamp(0, 1) - canvas.pixels))


def add_change(picture: Rgb8, face: Face, change: Tensor) -> Rgb8:
    """Add a change on the face's canvas, (3, CANVAS, CANVAS) in 0..1 units of sRGB, to a picture."""
    height, width = picture.shape[:2]
    to_canvas = align(face.mesh, face.eye_distance).to_canvas
    rows, columns = np.mgrid[:height, :width].astype(np.float64) + 0.5
    positions = transform_points(to_canvas, np.stack([columns.ravel(), rows.ravel()], 1)).reshape(1, height, width, 2)
    grid = torch.from_numpy(2 * positions / CANVAS - 1)
    warped = F.grid_sample(change[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    return as_bytes(picture / 255 + warped.permute(1, 2, 0).numpy())


def _make_faded_mask(canvas: CanvasFace) -> Tensor:
    inside = make_face_mask((CANVAS, CANVAS), canvas.mesh.numpy()).astype(np.float32)
    return torch.from_numpy(ndimage.gaussian_filter(inside, _FADE) * inside)[None]


def _pick_one_per_family(recognisers: Sequence[Recogniser], step: int) -> list[Recogniser]:
    families: dict[str, list[Recogniser]] = {}
    for recogniser in recognisers:
        families.setdefault(recogniser.family, []).append(recogniser)
    return [members[step % len(members)] for members in families.values()]


def blur(photo: Photo, face: Face, strength: float) -> Photo:
    """Gaussian blur of the face, as people do it by hand."""
    picture = to_rgb8(photo)
    sigma = BLUR * strength * face.eye_distance
    return Photo(_replace_face(picture, face, ndimage.gaussian_filter(picture / 255, (sigma, sigma, 0))))


def pixelate(photo: Photo, face: Face, strength: float) -> Photo:
    """Large pixels over the face."""
    picture = to_rgb8(photo)
    side = max(1, round(CELL * strength * face.eye_distance))
    height, width = picture.shape[:2]
    padded = np.pad(picture / 255, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    cells = padded.reshape(padded.shape[0] // side, side, padded.shape[1] // side, side, 3).mean((1, 3))
    return Photo(_replace_face(picture, face, cells.repeat(side, 0).repeat(side, 1)[:height, :width]))


def _replace_face(picture: Rgb8, face: Face, changed: NDArray[np.floating[Any]]) -> Rgb8:
    mask = make_face_mask((picture.shape[0], picture.shape[1]), face.mesh)
    return np.where(mask[..., None], as_bytes(changed), picture)
