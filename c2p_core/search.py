"""Stage 2 of CLIP2Protect (Shamshad, Naseer and Nandakumar, CVPR 2023, section 3) for any prior.

Stage 1 inverts the face into the latent space (``prior.invert``) and chooses the starting look.
Stage 2, here, optimises the latent code until recognisers no longer match the person, while the picture follows the
text. The terms of the loss are in ``losses``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from c2p_core.adam import Adam
from c2p_core.api import CancelToken
from c2p_core.eot import draw_transform
from c2p_core.faces.canvas import CanvasFace, warp_points
from c2p_core.guidance.clip import TextGuidance
from c2p_core.priors.prior import Code, InvertedFace
from c2p_core.recognition import Recogniser
from c2p_core.terms import Adversarial, Naturalness, Outcome, Target, Task, Text, compute_together

_Result = TypeVar("_Result")

# Steps between two evaluations without random transformations. They decide which code is best and when to stop early.
_EVALUATE_EVERY = 16
# Decay rates of Adam's two averages. Longer ones, 0.9 and 0.98, protected less after 150 steps than these do after 80
# (``benchmarks/EXPERIMENTS.md``).
_BETAS = (0.5, 0.8)
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

    steps: int = 80
    margin: float = 2.0
    clip_weight: float = 0.2
    latent_weight: float = 0.0033
    visibility_weight: float = 6.7
    one_recogniser_per_step: bool = False


@dataclass(frozen=True)
class SearchResult:
    """The best code, its adversarial loss summed over all recognisers, and the number of steps that led to it."""

    code: Code
    loss: float
    steps: int


@dataclass(frozen=True)
class FaceSearch:
    """A face and the settings of its search.

    Attributes:
        inverted: the face in the prior's latent space.
        face: the same face on its canvas.
        start: initial code, see ``InvertedFace.start``.
        target: see ``terms.Target``.
        text: guidance and the (D,) direction of the prompt in its space, or None without a prompt.
        settings: weights and number of steps.
        seed: seeds the random transformations.
        on_step: called before each step with its number and the number of steps.
        on_evaluation: called with the number of steps so far and the current (3, H, W) sRGB picture.
        find_landmarks: detects (468, 2) landmarks in a (3, H, W) picture, given an estimate of them. Recognisers align
            the face by detected landmarks, which do not follow every small movement of the pixels.
    """

    inverted: InvertedFace
    face: CanvasFace
    start: Code
    target: Target
    text: tuple[TextGuidance, Tensor] | None
    settings: SearchSettings
    seed: int
    on_step: Callable[[int, int], None] = lambda step, steps: None
    on_evaluation: Callable[[int, Tensor], None] = lambda step, pixels: None
    find_landmarks: Callable[[Tensor, Tensor], Tensor] = lambda pixels, mesh: mesh


_Steps = Generator[list[Task], list[Outcome], SearchResult]
"""A running search: it yields the terms of its next step and is sent their outcomes."""


def search(
    faces: Sequence[FaceSearch], recognisers: Sequence[Recogniser], cancel: CancelToken | None = None
) -> list[SearchResult]:
    """Run stage 2, the adversarial search, on faces of one photo, step by step side by side.

    A network sees the pictures of all of them as one batch. Every face has its own random numbers, so that its
    result is the same as if it were searched alone, to within rounding.

    Args:
        faces: on one device.
        recognisers: the surrogates; the held-out family is not among them.
        cancel: once set, the search raises ``Cancelled`` before its next step.

    Returns:
        one result per face.

    Raises:
        Cancelled: ``cancel`` was set.
    """
    # Before the threads are divided among the terms.
    naturalness = [_build_naturalness(face) for face in faces]
    searches = [_run_steps(face, term, recognisers, cancel) for face, term in zip(faces, naturalness, strict=True)]
    results: dict[int, SearchResult] = {}
    with _worker_pool(faces[0].face.pixels.device) as pool:
        waiting = {index: next(steps) for index, steps in enumerate(searches)}
        while waiting:
            outcomes = _compute_all(waiting, pool)
            for index in list(waiting):
                try:
                    waiting[index] = searches[index].send(outcomes[index])
                except StopIteration as ended:
                    results[index] = ended.value
                    del waiting[index]
    return [results[index] for index in range(len(searches))]


def _compute_all(waiting: Mapping[int, list[Task]], pool: ThreadPoolExecutor | None) -> dict[int, list[Outcome]]:
    """Compute the tasks of all searches, batch by batch; returns outcomes in the order of each search's tasks."""
    batches: dict[Hashable, list[tuple[int, int]]] = {}
    for index, tasks in waiting.items():
        for position, task in enumerate(tasks):
            batches.setdefault(task.batch, []).append((index, position))
    jobs = [partial(compute_together, [waiting[i][position] for i, position in batch]) for batch in batches.values()]
    outcome_by_task: dict[tuple[int, int], Outcome] = {}
    for batch, outcomes in zip(batches.values(), _run_all(jobs, pool), strict=True):
        outcome_by_task |= zip(batch, outcomes, strict=True)
    return {
        index: [outcome_by_task[index, position] for position in range(len(tasks))] for index, tasks in waiting.items()
    }


def _build_naturalness(face_search: FaceSearch) -> Naturalness:
    """Build the naturalness term of a search; embeds the unchanged face, once."""
    face, settings = face_search.face, face_search.settings
    text = None
    if face_search.text is not None:
        guidance, direction = face_search.text
        grid = guidance.sampling_grid(face.mesh)
        text = Text(guidance, guidance.embed(face.pixels[None], grid), direction, grid, settings.clip_weight)
    return Naturalness(face_search.inverted, settings.visibility_weight, text)


def _run_steps(
    face_search: FaceSearch, naturalness: Naturalness, recognisers: Sequence[Recogniser], cancel: CancelToken | None
) -> _Steps:
    """The search on one face."""
    inverted, face, target, settings = face_search.inverted, face_search.face, face_search.target, face_search.settings
    generator = torch.Generator().manual_seed(face_search.seed)
    code = {name: part.clone().requires_grad_() for name, part in face_search.start.items()}
    optimiser = Adam({part: inverted.learning_rates[name] for name, part in code.items()}, _BETAS)
    # A recogniser's weight must not depend on how many are active.
    weight = 1.0 if settings.one_recogniser_per_step else 1.0 / len({r.family for r in recognisers})
    # Detected landmarks minus landmarks warped along with the pixels.
    landmark_offset = torch.zeros_like(face.mesh)
    last_losses = {recogniser.name: float("inf") for recogniser in recognisers}
    best: SearchResult | None = None
    for step in range(settings.steps):
        if cancel is not None:
            cancel.raise_if_cancelled()
        face_search.on_step(step, settings.steps)
        transform = draw_transform(generator)
        rendered = inverted.render(code)
        augmented = transform.apply_image(rendered.pixels, generator)
        mesh = transform.apply_landmarks(warp_points(rendered.displacement, face.mesh) + landmark_offset)
        if settings.one_recogniser_per_step:
            active = [recognisers[step % len(recognisers)]]
        else:
            active = _choose_active(recognisers, step, last_losses)
        fields = rendered.pixels, rendered.displacement, rendered.density
        tasks = [Task(naturalness, fields)]
        tasks += [Task(Adversarial(r, target, settings.margin), (augmented, mesh)) for r in active]
        naturalness_outcome, *adversarial_outcomes = yield tasks
        last_losses.update({r.name: outcome.loss for r, outcome in zip(active, adversarial_outcomes, strict=True)})
        pixel_gradient, landmark_gradient = (
            torch.stack(parts).sum(0)
            for parts in zip(*(outcome.gradients for outcome in adversarial_outcomes), strict=True)
        )
        roots = [*fields, augmented, mesh, settings.latent_weight * inverted.latent_loss(code, rendered)]
        gradients = [*naturalness_outcome.gradients, weight * pixel_gradient, weight * landmark_gradient, None]
        # A prior may leave some of these independent of the code: landmarks, if it moves no pixels.
        dependent = [pair for pair in zip(roots, gradients, strict=True) if pair[0].requires_grad]
        optimiser.zero_grad()
        torch.autograd.backward([root for root, _ in dependent], [gradient for _, gradient in dependent])
        optimiser.step(1.0 - 0.95 * step / settings.steps)
        if (step + 1) % _EVALUATE_EVERY == 0 or step + 1 == settings.steps:
            # Without random transformations.
            current_code = {name: part.detach().clone() for name, part in code.items()}
            with torch.no_grad():
                current = inverted.render(current_code)
                warped = warp_points(current.displacement, face.mesh)
                detected = face_search.find_landmarks(current.pixels, warped)
            landmark_offset = detected - warped
            outcomes = yield [
                Task(Adversarial(r, target, settings.margin), (current.pixels, detected), differentiated=False)
                for r in recognisers
            ]
            result = SearchResult(current_code, sum(outcome.loss for outcome in outcomes), step + 1)
            face_search.on_evaluation(result.steps, current.pixels)
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


def _run_all(jobs: Sequence[Callable[[], _Result]], pool: ThreadPoolExecutor | None) -> list[_Result]:
    """Run jobs; returns their results in order."""
    return [job() for job in jobs] if pool is None else list(pool.map(lambda job: job(), jobs))


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
