"""The search of CLIP2Protect (Shamshad, Naseer and Nandakumar, CVPR 2023, section 3) for any prior.

Stage 1 finds the face's own latent code: ``prior.invert`` and the text's starting look.
Stage 2 moves the code so that recognisers lose the person while the picture follows the text:

    L = L_adv + lambda_clip * L_clip + lambda_latent * L_latent

An identity guard of our own is added: it is 0 until the change is more visible than the strength allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from c2p_core import transformations
from c2p_core.api import CancelToken
from c2p_core.guidance.clip import TextGuidance
from c2p_core.priors.prior import CanvasFace, Code, Inverted, moved
from c2p_core.recognition import Recogniser

# Steps between two looks at the clean picture, which decide on the best code and on stopping early.
_LOOK_EVERY = 15
# How much more a recogniser pulls that still matches, beside those that are only to be fooled with a margin.
_STILL_MATCHES = 3.0
# A recogniser that was fooled with the margin the last time is asked again only in every so many of its turns.
_RECHECK_EVERY = 4


@dataclass(frozen=True)
class SearchSettings:
    """How the search goes; the defaults are what ``benchmarks/EXPERIMENTS.md`` found best.

    Attributes:
        steps: of the optimiser.
        rate: Adam's learning rate, per part of the code.
        margin: the search pushes a recogniser this far below its FAR 1 % threshold, in its own ``spread``.
        clip: lambda_clip, the pull of the text.
        latent: lambda_latent, the pull back to likely codes.
        guard: weight of the identity guard, which is 0 as long as the change stays within what strength allows.
        sparing: asks one recogniser a step instead of one of each family, for a card with little memory.
    """

    steps: int = 150
    rate: dict[str, float] = field(
        default_factory=lambda: {
            "shape": 0.3,
            "complexion": 0.35,
            "relief": 0.35,
            "texture": 0.15,
            "grain": 0.15,
            "products": 0.3,
            "codes": 0.2,
            "noise": 0.1,
        }
    )
    margin: float = 2.0
    clip: float = 0.2
    latent: float = 0.0033
    guard: float = 6.7
    sparing: bool = False


@dataclass(frozen=True)
class Target:
    """Where the search pushes a face: away from itself (dodge), or towards a synthetic identity (decoy).

    Attributes:
        own: per recogniser name, (D,) unit embedding of the unchanged face.
        decoy: per recogniser name, (D,) unit embedding of the synthetic identity; empty when dodging.
    """

    own: dict[str, Tensor]
    decoy: dict[str, Tensor]


@dataclass(frozen=True)
class Found:
    """The best code, what is left of the adversarial loss, summed over the recognisers, and the steps it took."""

    code: Code
    loss: float
    steps: int


def search(
    inverted: Inverted,
    face: CanvasFace,
    start: Code,
    recognisers: Sequence[Recogniser],
    target: Target,
    text: tuple[TextGuidance, Tensor] | None,
    settings: SearchSettings,
    seed: int,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
    cancel: CancelToken | None = None,
    on_look: Callable[[int, Tensor], None] = lambda step, rendered: None,
    find: Callable[[Tensor, Tensor], Tensor] = lambda picture, mesh: mesh,
) -> Found:
    """Stage 2: the adversarial search of one face.

    Args:
        inverted: the face in the prior's latent space.
        face: the same face on its canvas.
        start: code to start from.
        recognisers: those that may be asked; the held-out family is not among them.
        target: see ``Target``.
        text: guidance and the (D,) direction of the prompt in its space, or None without a prompt.
        settings: weights and steps.
        seed: of the random transformations.
        on_step: called before each step with its number and their count.
        cancel: ends the search within one step by raising ``Cancelled``.
        on_look: called with the number of steps so far and the (3, H, W) sRGB picture that they led to.
        find: landmarks, (468, 2), that a detector finds in a (3, H, W) picture whose landmarks went about there.
            Recognisers cut the face out by them, and they don't follow every small movement of the pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    code = {name: part.clone().requires_grad_() for name, part in start.items()}
    optimiser = torch.optim.Adam(
        [{"params": [part], "lr": settings.rate[name]} for name, part in code.items()], betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1.0 - 0.95 * step / settings.steps)
    wording = _wording(face, text)
    # The pull of each recogniser stays the same, however many are asked.
    share = 1.0 if settings.sparing else 1.0 / len({recogniser.family for recogniser in recognisers})
    # How far the detector's landmarks lie from where the pixels went.
    slip = torch.zeros_like(face.mesh)
    last = {recogniser.name: float("inf") for recogniser in recognisers}
    best: Found | None = None
    with _one_recogniser_per_core(face.pixels.device) as pool:
        for step in range(settings.steps):
            if cancel is not None:
                cancel.raise_if_cancelled()
            on_step(step, settings.steps)
            how = transformations.draw(generator)
            rendered = inverted.render(code)
            arrived = transformations.picture(rendered.pixels, how, generator)
            mesh = transformations.points(moved(rendered.displacement, face.mesh) + slip, how)
            asked = _in_turn(recognisers, step) if settings.sparing else _one_of_each_family(recognisers, step, last)
            losses, towards = _adversarial_gradients(asked, arrived, mesh, target, settings.margin, pool)
            last.update(losses)
            loss = settings.latent * inverted.regulariser(code, rendered) + settings.guard * inverted.guard(rendered)
            if wording is not None:
                loss = loss + settings.clip * wording(rendered.pixels)
            optimiser.zero_grad()
            # What the code leaves alone, as landmarks where nothing moves, passes no gradient on.
            pulls: list[tuple[Tensor, Tensor | None]] = [
                (end, pull)
                for end, pull in ((loss, None), (arrived, towards[0] * share), (mesh, towards[1] * share))
                if end.requires_grad
            ]
            torch.autograd.backward([end for end, _ in pulls], [pull for _, pull in pulls])
            optimiser.step()
            schedule.step()
            if (step + 1) % _LOOK_EVERY == 0 or step + 1 == settings.steps:
                found, slip = _look(inverted, face, recognisers, target, code, settings.margin, step + 1, on_look, find)
                if best is None or found.loss <= best.loss:
                    best = found
                if found.loss == 0.0:
                    break
    assert best is not None
    return best


@contextmanager
def _one_recogniser_per_core(device: torch.device) -> Iterator[ThreadPoolExecutor | None]:
    """Threads in which recognisers run side by side, each on one core; None on a graphics card.

    Their layers are too small to be split among cores: two threads on one layer gained nothing, two recognisers at a
    time took a face from 22 to 17 s.
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


def _adversarial_gradients(
    asked: Sequence[Recogniser],
    arrived: Tensor,
    mesh: Tensor,
    target: Target,
    margin: float,
    pool: ThreadPoolExecutor | None,
) -> tuple[dict[str, float], tuple[Tensor, Tensor]]:
    """L_adv per recogniser name, and the sum's gradients by the (3, H, W) picture and its (468, 2) landmarks."""
    picture, points = arrived.detach(), mesh.detach()

    def ask(recogniser: Recogniser) -> tuple[float, Tensor, Tensor]:
        own = picture.clone().requires_grad_(), points.clone().requires_grad_()
        loss = _adversarial(recogniser, recogniser.embed(own[0][None], own[1][None])[0], target, margin)
        by_picture, by_points = torch.autograd.grad(loss, own, materialize_grads=True)
        return float(loss.detach()), by_picture, by_points

    answers = list(map(ask, asked) if pool is None else pool.map(ask, asked))
    losses = {recogniser.name: answer[0] for recogniser, answer in zip(asked, answers, strict=True)}
    return losses, (torch.stack([a[1] for a in answers]).sum(0), torch.stack([a[2] for a in answers]).sum(0))


def _wording(face: CanvasFace, text: tuple[TextGuidance, Tensor] | None) -> Callable[[Tensor], Tensor] | None:
    """L_clip of a (3, H, W) picture of the face; the unchanged face is embedded only once."""
    if text is None:
        return None
    guidance, direction = text
    frame = guidance.frame(face.mesh)
    before = guidance.embed(face.pixels[None], frame)
    return lambda pixels: guidance.loss(before, pixels[None], direction, frame)


def _one_of_each_family(recognisers: Sequence[Recogniser], step: int, last: dict[str, float]) -> list[Recogniser]:
    """Siblings take turns: they lead the same way, and each costs as much as a stranger.

    Those whose ``last`` loss was 0 sit out most of their turns, but one recogniser is asked in any case.
    """
    families: dict[str, list[Recogniser]] = {}
    for recogniser in recognisers:
        families.setdefault(recogniser.family, []).append(recogniser)
    turns = [(siblings[step % len(siblings)], step // len(siblings)) for siblings in families.values()]
    asked = [r for r, round_ in turns if last[r.name] > 0.0 or round_ % _RECHECK_EVERY == 0]
    return asked or [turns[0][0]]


def _in_turn(recognisers: Sequence[Recogniser], step: int) -> list[Recogniser]:
    """One alone, since memory goes by how many are asked at once."""
    return [recognisers[step % len(recognisers)]]


def _adversarial(recogniser: Recogniser, embedding: Tensor, target: Target, margin: float) -> Tensor:
    """L_adv of one recogniser: 0 when it is fooled with the margin; steeper as long as it still matches."""
    goal = recogniser.far1 - margin * recogniser.spread
    own = embedding @ target.own[recogniser.name]
    loss = (torch.relu(own - goal) + _STILL_MATCHES * torch.relu(own - recogniser.far1)) / (1.0 - goal)
    if target.decoy:
        wanted = recogniser.far1 + 0.5 * margin * recogniser.spread
        loss = 0.5 * loss + 0.5 * torch.relu((wanted - embedding @ target.decoy[recogniser.name]) / wanted)
    return loss


@torch.no_grad()
def _look(
    inverted: Inverted,
    face: CanvasFace,
    recognisers: Sequence[Recogniser],
    target: Target,
    code: Code,
    margin: float,
    steps: int,
    on_look: Callable[[int, Tensor], None],
    find: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Found, Tensor]:
    """Where the search stands, without random transformations, and how far landmarks lie from where the pixels went."""
    kept = {name: part.detach().clone() for name, part in code.items()}
    rendered = inverted.render(kept)
    on_look(steps, rendered.pixels)
    went = moved(rendered.displacement, face.mesh)
    mesh = find(rendered.pixels, went)
    loss = sum(
        float(_adversarial(r, r.embed(rendered.pixels[None], mesh[None])[0], target, margin)) for r in recognisers
    )
    return Found(kept, loss, steps), mesh - went
