"""The search by itself: a prior of one number and recognisers that read one colour."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.api import CancelToken
from c2p_core.errors import Cancelled
from c2p_core.priors.prior import CanvasFace, Change, Code, Rendered
from c2p_core.protect import Found, SearchSettings, Target, search
from c2p_core.recognition import Recogniser


class Tint:
    """A prior that can only make the picture redder."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels

    def start(self) -> Code:
        return {"tint": torch.zeros(1)}

    def render(self, code: Code) -> Rendered:
        density = -code["tint"] * torch.tensor([0.2, -0.1, 0.0])[:, None, None]
        return Rendered((self.pixels - density).clamp(0, 1), torch.zeros(2, 4, 4), density)

    def regulariser(self, code: Code, rendered: Rendered) -> Tensor:
        return code["tint"].square().sum()

    def guard(self, rendered: Rendered) -> Tensor:
        return torch.relu(5 * rendered.density.abs().max() - 10.0)

    def change(self, code: Code) -> Change:
        raise AssertionError("the search never asks for the full-size change")


def mean_colour(images: Tensor, mesh: Tensor) -> Tensor:
    return F.normalize(images.mean((2, 3)) - 0.4, dim=1)


def recogniser(name: str = "red", family: str = "colour") -> Recogniser:
    return Recogniser(name, family, "CC0-1.0", far1=0.8, far01=0.9, spread=0.1, embed=mean_colour)


FACE = CanvasFace(torch.full((3, 256, 256), 0.5), torch.rand(468, 2) * 256)
PLAIN = SearchSettings(steps=40, rate={"tint": 0.2}, latent=0.0)


def run(settings: SearchSettings = PLAIN, seed: int = 0, **more: object) -> Found:
    prior = Tint(FACE.pixels)
    own = {"red": mean_colour(FACE.pixels[None], FACE.mesh[None])[0]}
    return search(prior, FACE, prior.start(), [recogniser()], Target(own, {}), None, settings, seed, **more)  # type: ignore[arg-type]


def similarity(found: Found) -> float:
    before, after = FACE.pixels[None], Tint(FACE.pixels).render(found.code).pixels[None]
    return float((mean_colour(before, FACE.mesh) * mean_colour(after, FACE.mesh)).sum())


def test_the_recogniser_loses_the_face_with_the_margin() -> None:
    assert similarity(run()) < 0.8 - PLAIN.margin * 0.1 + 1e-4


def test_it_stops_as_soon_as_everybody_is_fooled() -> None:
    found = run()
    assert found.loss == 0.0
    assert found.steps < PLAIN.steps


def test_the_same_seed_finds_the_same_code() -> None:
    assert torch.equal(run(seed=1).code["tint"], run(seed=1).code["tint"])


def test_the_latent_loss_keeps_the_code_near() -> None:
    held = SearchSettings(steps=40, rate={"tint": 0.2}, latent=20.0)
    assert float(run(held).code["tint"].abs()) < 0.2 * float(run().code["tint"].abs())


def test_a_decoy_pulls_towards_itself() -> None:
    prior = Tint(FACE.pixels)
    own = mean_colour(FACE.pixels[None], FACE.mesh[None])[0]
    decoy = F.normalize(torch.tensor([1.0, -0.3, 0.1]), dim=0)
    target = Target({"red": own}, {"red": decoy})
    found = search(prior, FACE, prior.start(), [recogniser()], target, None, PLAIN, 0)
    after = mean_colour(prior.render(found.code).pixels[None], FACE.mesh[None])[0]
    assert float(after @ decoy) > float(own @ decoy) + 0.3


def test_cancel_takes_effect_within_one_step() -> None:
    token, seen = CancelToken(), []

    def step(number: int, steps: int) -> None:
        seen.append(number)
        if number == 3:
            token.cancel()

    with pytest.raises(Cancelled):
        run(on_step=step, cancel=token)
    assert seen[-1] == 3


def test_every_step_is_told() -> None:
    told: list[tuple[int, int]] = []
    found = run(on_step=lambda step, steps: told.append((step, steps)))
    assert told == [(n, PLAIN.steps) for n in range(found.steps)]


def test_recognisers_cut_the_face_out_where_a_detector_finds_it() -> None:
    asked: list[Tensor] = []

    def embed(images: Tensor, mesh: Tensor) -> Tensor:
        asked.append(mesh[0])
        return mean_colour(images, mesh)

    spy = Recogniser("red", "colour", "CC0-1.0", far1=-2.0, far01=-1.0, spread=0.1, embed=embed)
    own = {"red": mean_colour(FACE.pixels[None], FACE.mesh[None])[0]}
    elsewhere = FACE.mesh + 40.0
    settings = SearchSettings(steps=11, rate={"tint": 0.2})
    prior = Tint(FACE.pixels)
    search(prior, FACE, prior.start(), [spy], Target(own, {}), None, settings, 0, find=lambda picture, mesh: elsewhere)
    looks, after_the_first = [asked[10], asked[12]], asked[11]
    assert all(torch.equal(look, elsewhere) for look in looks)
    # Between the looks they are mirrored and jittered, so that only their height is comparable.
    assert abs(float((after_the_first - elsewhere)[:, 1].mean())) < 10.0
