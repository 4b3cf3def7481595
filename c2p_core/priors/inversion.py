"""GAN inversion into StyleGAN2: encoder, short optimisation in W+, pivotal tuning (Roich et al. 2021).

The generator itself never changes: pivotal tuning optimises copies of its weights that replace them while this face is
rendered, so nothing carries over from one face to the next. Generators larger than ``_SIDE`` pixels work at that size;
the losses would not see finer detail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from c2p_core.adam import Adam
from c2p_core.faces.align import LEFT_EYE, RIGHT_EYE
from c2p_core.priors.perceptual import Perceptual
from c2p_core.priors.stylegan2 import Encoder, Generator

OnStep = Callable[[int, int], None]
"""Called before each step with its number and the number of steps; may raise to end the inversion."""

_SIDE = 256
# Number of the finest rows of a W+ code that the search may change: 8 to 17 of 18. In a smaller generator they affect
# the same aspects of a face.
_FREE_ROWS = 10
_BETAS = (0.9, 0.99)  # decay rates of Adam's two averages
_CHECK_EVERY = 10  # tuning steps between two checks of the PSNR
# Face-mesh indices of the mouth's corners, image left before image right.
_MOUTH = (61, 291)


@dataclass(frozen=True)
class InversionSettings:
    """Settings of the inversion.

    Attributes:
        latent_steps: steps of optimisation in W+, from the encoder's estimate.
        latent_rate: its learning rate (Adam), in standard deviations of W.
        estimate_weight: weight of the squared distance from the encoder's estimate.
        tuning_steps: maximum number of steps of pivotal tuning.
        tuning_rate: its learning rate (Adam).
        target: PSNR of the crop, in dB, at which tuning stops.
        perceptual: weight of the perceptual distance relative to the squared error.
    """

    latent_steps: int = 20
    latent_rate: float = 0.05
    estimate_weight: float = 1e-3
    tuning_steps: int = 300
    tuning_rate: float = 2e-3
    target: float = 30.0
    perceptual: float = 0.02


@dataclass(frozen=True)
class Inversion:
    """An inverted face.

    Attributes:
        codes: (codes, style) in W+, the pivot.
        weights: tuned weights by parameter name, which replace the generator's.
        quality: PSNR of the crop in dB, where the canvas covers it.
    """

    codes: Tensor
    weights: dict[str, Tensor]
    quality: float


def working_side(generator: Generator) -> int:
    """Side in pixels of the pictures that inversion and search use."""
    return min(generator.shape.size, _SIDE)


def synthesise(generator: Generator, weights: dict[str, Tensor], codes: Tensor, **options: object) -> Tensor:
    """Synthesise (B, 3, h, h) from (B, codes, style) codes with tuned weights; ``options`` go to the generator."""
    pictures: Tensor = functional_call(generator, weights, (codes,), dict(options))
    return pictures


def ffhq_transform(mesh: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    """(2, 3) transform from an FFHQ-aligned square (Karras et al. 2019) to the picture.

    Args:
        mesh: (468, 2) points in the picture.
        side: of the square in pixels.
    """
    left, right = mesh[list(LEFT_EYE)].mean(0), mesh[list(RIGHT_EYE)].mean(0)
    eyes, mouth = (left + right) / 2, mesh[list(_MOUTH)].mean(0)
    across, down = (right - left).astype(np.float64), (mouth - eyes).astype(np.float64)
    x = across - np.array([-down[1], down[0]])
    x *= max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down)) / np.hypot(*x)
    y = np.array([-x[1], x[0]])
    corner = eyes + 0.1 * down - x - y
    return np.concatenate([np.stack([2 * x / side, 2 * y / side], 1), corner[:, None]], 1)


def fingerprint(generator: Generator, encoder: Encoder) -> str:
    """Hash all weights; cached inversions are only valid for the networks that made them."""
    digest = hashlib.sha256()
    for network in (generator, encoder):
        for name, value in network.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def psnr(pictures: Tensor, targets: Tensor, mask: Tensor) -> float:
    """PSNR in dB of (B, 3, h, h) pictures in -1..1, where the mask is 1."""
    error = ((pictures.clamp(-1, 1) - targets) ** 2 * mask).sum() / (pictures.shape[1] * mask.sum())
    return float(-10 * torch.log10(error / 4 + 1e-10))


def invert(
    generator: Generator,
    encoder: Encoder,
    picture: Tensor,
    mask: Tensor,
    perceptual: Perceptual,
    settings: InversionSettings,
    on_step: OnStep = lambda step, steps: None,
) -> Inversion:
    """Invert a face: find its codes, then tune the generator's weights to reproduce it.

    Args:
        generator, encoder: with codes of the same shape; they are not modified.
        picture: (3, side, side) FFHQ-aligned, -1..1, at ``working_side``.
        mask: (1, side, side) 1 where the picture shows the photo.
        perceptual: distance used in addition to the squared error.
        settings: steps, rates and target.
        on_step: see ``OnStep``.
    """
    side, target = picture.shape[2], picture[None]
    target_features = perceptual.features(target)
    steps = settings.latent_steps + settings.tuning_steps

    def loss(rendered: Tensor) -> Tensor:
        # Outside the mask both pictures are the same, so that the losses ignore it.
        masked = rendered * mask + (target * (1 - mask))
        return F.mse_loss(masked, target) + settings.perceptual * perceptual.distance_to(masked, target_features)

    with torch.no_grad():
        estimate = encoder(_resize(target, encoder.shape.size))
    codes = estimate.clone().requires_grad_()
    optimiser = Adam({codes: settings.latent_rate * w_std(generator)}, _BETAS)
    for step in range(settings.latent_steps):
        on_step(step, steps)
        distance = (codes - estimate).square().mean()
        _descend(optimiser, loss(generator(codes, size=side)) + settings.estimate_weight * distance)
    codes = codes.detach()

    weights = {name: p.detach().clone().requires_grad_() for name, p in tuned_parameters(generator).items()}
    optimiser = Adam(dict.fromkeys(weights.values(), settings.tuning_rate), _BETAS)
    with torch.no_grad():
        partial = generator.synthesise_layers(codes, frozen_layers(generator.shape.codes))
    for step in range(settings.tuning_steps):
        on_step(settings.latent_steps + step, steps)
        rendered = synthesise(generator, weights, codes, size=side, partial=partial)
        if step % _CHECK_EVERY == 0 and psnr(rendered.detach(), target, mask) >= settings.target:
            break
        _descend(optimiser, loss(rendered))
    weights = {name: weight.detach() for name, weight in weights.items()}
    with torch.no_grad():
        quality = psnr(synthesise(generator, weights, codes, size=side), target, mask)
    return Inversion(codes[0], weights, quality)


def fixed_rows(codes: int) -> int:
    """Number of rows of a W+ code, from the coarsest, that carry identity and are fixed: 8 of 18, at least 1."""
    return max(1, codes - _FREE_ROWS)


def frozen_layers(codes: int) -> int:
    """Number of layers, from the coarsest, that neither tuning nor search changes; they are computed only once."""
    return fixed_rows(codes) // 2 * 2


def tuned_parameters(generator: Generator) -> dict[str, Tensor]:
    """The parameters that pivotal tuning changes: those of layers with free rows, up to the working side.

    Neither the mapping network, which synthesis from W+ does not use, nor the noise strengths.
    """
    levels, first = working_side(generator).bit_length() - 2, frozen_layers(generator.shape.codes)
    prefixes = {f"layers.{index}." for index in range(first, 2 * levels - 1)}
    prefixes |= {f"rgbs.{index}." for index in range(first // 2, levels)}
    return {
        name: parameter
        for name, parameter in generator.named_parameters()
        if name.startswith(tuple(prefixes)) and not name.endswith("noise_strength")
    }


@torch.no_grad()
def w_std(generator: Generator) -> float:
    """Standard deviation of the components of W around their means, over random draws."""
    mean_w = generator.mean_w
    draws = torch.randn(512, generator.shape.style, generator=torch.Generator().manual_seed(0)).to(mean_w)
    return float((generator.mapping(draws) - mean_w).square().mean().sqrt())


def _descend(optimiser: Adam, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def _resize(pictures: Tensor, side: int) -> Tensor:
    if pictures.shape[2] == side:
        return pictures
    if pictures.shape[2] > side:
        return F.interpolate(pictures, (side, side), mode="area")
    return F.interpolate(pictures, (side, side), mode="bilinear", align_corners=False)
