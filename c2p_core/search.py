"""Stage 2 of CLIP2Protect (Shamshad, Naseer and Nandakumar, CVPR 2023, section 3) for any prior.

Stage 1 inverts the face into the latent space (``prior.invert``) and chooses the starting look.
Stage 2, here, optimises the latent code until recognisers no longer match the person, while the picture follows the
text. The terms of the loss are in ``losses``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from c2p_core.api import CancelToken
from c2p_core.eot import draw_transform
from c2p_core.faces.canvas import CanvasFace, warp_points
from c2p_core.guidance.clip import TextGuidance
from c2p_core.losses import adversarial_loss
from c2p_core.priors.prior import Code, InvertedFace, Rendered
from c2p_core.recognition import Recogniser

_T = TypeVar("_T")

# Steps between two evaluations without random transformations. They decide which code is best and when to stop early.
_EVALUATE_EVERY = 15
# A recogniser whose last loss was 0 is evaluated in only one of this many of its turns.
_RECHECK_EVERY = 4


@dataclass(frozen=True)
class SearchSettings:
    """Settings of the search; the defaults are what ``benchmarks/EXPERIMENTS.md`` found best.

    Attributes:
        steps: optimiser steps at most.
        margin: how far below the FAR 1 % threshold the search pushes similarities, in units of each recogniser's
            ``impostor_std``.
        clip_weight: lambda_clip.
        latent_weight: lambda_latent.
        visibility_weight: lambda_visibility.
        one_recogniser_per_step: evaluate a single recogniser in each step instead of one of each family; for graphics
            cards with little memory.
    """

    steps: int = 150
    margin: float = 2.0
    clip_weight: float = 0.2
    latent_weight: float = 0.0033
    visibility_weight: float = 6.7
    one_recogniser_per_step: bool = False


@dataclass(frozen=True)
class Target:
    """What the search moves a face away from and, in decoy mode, towards.

    Attributes:
        own: per recogniser name, (D,) unit embedding of the unchanged face.
        decoy: per recogniser name, (D,) unit embedding of the synthetic identity; empty when dodging. Recognisers that
            it lacks are only dodged.
        away: per recogniser name, (N, D) unit embeddings of further pictures that the face must not match, such as
            protected photos of the person; recognisers that it lacks have none.
    """

    own: dict[str, Tensor]
    decoy: dict[str, Tensor]
    away: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchResult:
    """The best code, its adversarial loss summed over all recognisers, and the number of steps that led to it."""

    code: Code
    loss: float
    steps: int


def search(
    inverted: InvertedFace,
    face: CanvasFace,
    start: Code,
    recognisers: Sequence[Recogniser],
    target: Target,
    text: tuple[TextGuidance, Tensor] | None,
    settings: SearchSettings,
    seed: int,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
    cancel: CancelToken | None = None,
    on_evaluation: Callable[[int, Tensor], None] = lambda step, pixels: None,
    find_landmarks: Callable[[Tensor, Tensor], Tensor] = lambda pixels, mesh: mesh,
) -> SearchResult:
    """Run stage 2, the adversarial search, on one face.

    Args:
        inverted: the face in the prior's latent space.
        face: the same face on its canvas.
        start: initial code, see ``InvertedFace.start``.
        recognisers: the surrogates; the held-out family is not among them.
        target: see ``Target``.
        text: guidance and the (D,) direction of the prompt in its space, or None without a prompt.
        settings: weights and number of steps.
        seed: seeds the random transformations.
        on_step: called before each step with its number and the number of steps.
        cancel: once set, the search raises ``Cancelled`` before its next step.
        on_evaluation: called with the number of steps so far and the current (3, H, W) sRGB picture.
        find_landmarks: detects (468, 2) landmarks in a (3, H, W) picture, given an estimate of them. Recognisers align
            the face by detected landmarks, which do not follow every small movement of the pixels.

    Raises:
        Cancelled: ``cancel`` was set.
    """
    generator = torch.Generator().manual_seed(seed)
    code = {name: part.clone().requires_grad_() for name, part in start.items()}
    optimiser = torch.optim.Adam(
        [{"params": [part], "lr": inverted.learning_rates[name]} for name, part in code.items()], betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1.0 - 0.95 * step / settings.steps)
    naturalness = _build_naturalness_term(inverted, face, text, settings)
    # A recogniser's weight must not depend on how many are active.
    weight = 1.0 if settings.one_recogniser_per_step else 1.0 / len({r.family for r in recognisers})
    # Detected landmarks minus landmarks warped along with the pixels.
    landmark_offset = torch.zeros_like(face.mesh)
    last_losses = {recogniser.name: float("inf") for recogniser in recognisers}
    best: SearchResult | None = None
    with _worker_pool(face.pixels.device) as pool:
        for step in range(settings.steps):
            if cancel is not None:
                cancel.raise_if_cancelled()
            on_step(step, settings.steps)
            transform = draw_transform(generator)
            rendered = inverted.render(code)
            augmented = transform.apply_image(rendered.pixels, generator)
            mesh = transform.apply_landmarks(warp_points(rendered.displacement, face.mesh) + landmark_offset)
            if settings.one_recogniser_per_step:
                active = [recognisers[step % len(recognisers)]]
            else:
                active = _choose_active(recognisers, step, last_losses)
            fields = rendered.pixels, rendered.displacement, rendered.density
            tasks = [partial(_differentiate, naturalness, fields)]
            tasks += [
                partial(_differentiate, partial(_adversarial_loss, r, target, settings.margin), (augmented, mesh))
                for r in active
            ]
            (_, visible), *adversarial = _run_all(tasks, pool)
            last_losses.update({r.name: loss for r, (loss, _) in zip(active, adversarial, strict=True)})
            by_pixels, by_landmarks = (
                torch.stack(parts).sum(0) for parts in zip(*(g for _, g in adversarial), strict=True)
            )
            roots = [*fields, augmented, mesh, settings.latent_weight * inverted.latent_loss(code, rendered)]
            gradients = [*visible, weight * by_pixels, weight * by_landmarks, None]
            # A prior may leave some of these independent of the code: landmarks, if it moves no pixels.
            dependent = [pair for pair in zip(roots, gradients, strict=True) if pair[0].requires_grad]
            optimiser.zero_grad()
            torch.autograd.backward([root for root, _ in dependent], [gradient for _, gradient in dependent])
            optimiser.step()
            schedule.step()
            if (step + 1) % _EVALUATE_EVERY == 0 or step + 1 == settings.steps:
                result, pixels, landmark_offset = _evaluate(
                    inverted, face, recognisers, target, code, settings.margin, step + 1, find_landmarks, pool
                )
                on_evaluation(result.steps, pixels)
                if best is None or result.loss <= best.loss:
                    best = result
                if result.loss == 0.0:
                    break
    assert best is not None
    return best


@contextmanager
def _worker_pool(device: torch.device) -> Iterator[ThreadPoolExecutor | None]:
    """A pool that runs the terms of the loss in parallel, one per core; None on a graphics card.

    The layers of the recognisers are too small to split among cores: two threads per layer gained nothing, two
    recognisers in parallel cut the time per face from 22 to 17 s.
    """
    cores = torch.get_num_threads()
    if device.type != "cpu" or cores == 1:
        yield None
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(cores) as pool:
            yield pool
    finally:
        torch.set_num_threads(cores)


def _run_all(tasks: Sequence[Callable[[], _T]], pool: ThreadPoolExecutor | None) -> list[_T]:
    """The results of the tasks, in their order."""
    return [task() for task in tasks] if pool is None else list(pool.map(lambda task: task(), tasks))


def _differentiate(term: Callable[..., Tensor], inputs: Sequence[Tensor]) -> tuple[float, tuple[Tensor, ...]]:
    """The scalar value of a term, and its gradients with respect to its inputs, whatever these depend on."""
    leaves = [part.detach().requires_grad_() for part in inputs]
    loss = term(*leaves)
    return float(loss.detach()), torch.autograd.grad(loss, leaves, materialize_grads=True)


def _adversarial_loss(recogniser: Recogniser, target: Target, margin: float, pixels: Tensor, mesh: Tensor) -> Tensor:
    """L_adv of one recogniser for a (3, H, W) picture with (468, 2) landmarks."""
    embedding = recogniser.embed(pixels[None], mesh[None])[0]
    similarity = embedding @ target.own[recogniser.name]
    decoy = target.decoy.get(recogniser.name)
    decoy_similarity = None if decoy is None else embedding @ decoy
    loss = adversarial_loss(similarity, decoy_similarity, recogniser.far1, recogniser.impostor_std, margin)
    away = target.away.get(recogniser.name)
    if away is None:
        return loss
    # Only the nearest one, which is the first to be found.
    return loss + adversarial_loss((away @ embedding).max(), None, recogniser.far1, recogniser.impostor_std, margin)


def _build_naturalness_term(
    inverted: InvertedFace,
    face: CanvasFace,
    text: tuple[TextGuidance, Tensor] | None,
    settings: SearchSettings,
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A function that computes the weighted sum of L_visibility and L_clip from the fields of ``Rendered``.

    It embeds the unchanged face only once.
    """

    def visibility(pixels: Tensor, displacement: Tensor, density: Tensor) -> Tensor:
        return settings.visibility_weight * inverted.visibility_penalty(Rendered(pixels, displacement, density))

    if text is None:
        return visibility
    guidance, direction = text
    grid = guidance.sampling_grid(face.mesh)
    before = guidance.embed(face.pixels[None], grid)

    def visibility_and_clip(pixels: Tensor, displacement: Tensor, density: Tensor) -> Tensor:
        clip = guidance.loss(before, pixels[None], direction, grid)
        return visibility(pixels, displacement, density) + settings.clip_weight * clip

    return visibility_and_clip


def _choose_active(recognisers: Sequence[Recogniser], step: int, last_losses: dict[str, float]) -> list[Recogniser]:
    """The active recognisers of a step: one of each family in turn, because gradients within a family are alike.

    Recognisers whose last loss was 0 skip most of their turns, but at least one is always active.
    """
    families: dict[str, list[Recogniser]] = {}
    for recogniser in recognisers:
        families.setdefault(recogniser.family, []).append(recogniser)
    turns = [(family[step % len(family)], step // len(family)) for family in families.values()]
    active = [r for r, turn in turns if last_losses[r.name] > 0.0 or turn % _RECHECK_EVERY == 0]
    return active or [turns[0][0]]


@torch.no_grad()
def _evaluate(
    inverted: InvertedFace,
    face: CanvasFace,
    recognisers: Sequence[Recogniser],
    target: Target,
    code: Code,
    margin: float,
    steps: int,
    find_landmarks: Callable[[Tensor, Tensor], Tensor],
    pool: ThreadPoolExecutor | None,
) -> tuple[SearchResult, Tensor, Tensor]:
    """Evaluate a code without random transformations: result, (3, H, W) picture, (468, 2) landmark offset."""
    code = {name: part.detach().clone() for name, part in code.items()}
    rendered = inverted.render(code)
    warped = warp_points(rendered.displacement, face.mesh)
    mesh = find_landmarks(rendered.pixels, warped)

    def evaluate(recogniser: Recogniser) -> float:
        with torch.no_grad():  # not inherited by the threads of the pool
            return float(_adversarial_loss(recogniser, target, margin, rendered.pixels, mesh))

    losses = _run_all([partial(evaluate, recogniser) for recogniser in recognisers], pool)
    return SearchResult(code, sum(losses), steps), rendered.pixels, mesh - warped
