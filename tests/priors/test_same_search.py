"""The prior stylegan2 is searched as the prior makeup is: by the same surrogates, transformations and losses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from skimage import data
from torch import Tensor

from c2p_core import eot, face_search, terms
from c2p_core.api import ProtectRequest
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.pipeline import find_direction
from c2p_core.priors import makeup, renderer, wplus
from c2p_core.priors.inversion import InversionSettings
from c2p_core.recognition import Recogniser
from c2p_core.search import FaceSearch, SearchResult, search

REQUEST = ProtectRequest(Photo(data.astronaut()), "red lipstick", mode="decoy", steps=2, seed=3)
PRIORS = ("makeup", "stylegan2")


@dataclass
class Seen:
    """What one search used."""

    faces: list[FaceSearch] = field(default_factory=list)
    surrogates: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    meshes: list[Tensor] = field(default_factory=list)
    transforms: list[tuple[float, ...]] = field(default_factory=list)
    losses: Counter[str] = field(default_factory=Counter)


def follow(monkeypatch: pytest.MonkeyPatch, seen: Seen) -> None:
    """Record what the search uses, and let it use it."""

    def searched(faces: Sequence[FaceSearch], recognisers: Sequence[Recogniser], *arguments: Any) -> list[SearchResult]:
        seen.faces += faces
        seen.surrogates += [recogniser.name for recogniser in recognisers]
        return search(
            faces, [replace(recogniser, embed=recorded(recogniser)) for recogniser in recognisers], *arguments
        )

    def recorded(recogniser: Recogniser) -> Any:
        def embed(images: Tensor, mesh: Tensor) -> Tensor:
            if images.requires_grad:
                seen.asked.append(recogniser.name)
                seen.meshes.append(mesh.detach())
            return recogniser.embed(images, mesh)

        return embed

    draw = eot.draw_transform

    def drawn(generator: torch.Generator) -> eot.Transform:
        result = draw(generator)
        numbers = result.shrink, result.gamma, result.noise, result.mirrored, result.scale, result.angle
        seen.transforms.append((*numbers, *result.shift.tolist()))
        return result

    monkeypatch.setattr(face_search, "search", searched)
    monkeypatch.setattr("c2p_core.search.draw_transform", drawn)
    places = ((terms, "adversarial_loss"), (terms, "clip_loss"), (renderer, "visibility_penalty"))
    for module, name in (*places, (makeup, "latent_loss"), (wplus, "latent_loss")):
        usual = getattr(module, name)

        def counted(*arguments: Any, usual: Any = usual, name: str = name) -> Tensor:
            seen.losses[name] += 1
            result: Tensor = usual(*arguments)
            return result

        monkeypatch.setattr(module, name, counted)


@pytest.fixture(scope="module")
def searches(store: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    searches_by_prior: dict[str, Seen] = {}
    folder: Path = tmp_path_factory.mktemp("cache")
    for prior in PRIORS:
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setenv("C2P_CACHE", str(folder))
            monkeypatch.setattr(wplus, "InversionSettings", lambda: InversionSettings(latent_steps=1, tuning_steps=1))
            searches_by_prior[prior] = Seen()
            follow(monkeypatch, searches_by_prior[prior])
            find_direction(replace(REQUEST, prior=prior), store=store)
    return searches_by_prior


@pytest.mark.slow
def test_both_priors_are_searched_against_the_same_surrogates_in_the_same_order(searches: dict[str, Seen]) -> None:
    one, other = (searches[prior] for prior in PRIORS)
    assert len(one.surrogates) >= 5 and one.surrogates == other.surrogates
    # Each of two steps asks one recogniser of each family.
    assert len(one.asked) >= 6 and one.asked == other.asked


@pytest.mark.slow
def test_both_priors_are_searched_under_the_same_transformations(searches: dict[str, Seen]) -> None:
    one, other = (searches[prior] for prior in PRIORS)
    assert len(one.transforms) == 2 and one.transforms == other.transforms
    # In the first step nothing has moved yet, so that recognisers get the same landmarks of the same face.
    first = len(one.asked) // 2
    for mine, theirs in zip(one.meshes[:first], other.meshes[:first], strict=True):
        assert torch.allclose(mine, theirs, atol=1e-3)


@pytest.mark.slow
def test_both_priors_are_searched_with_the_same_losses_and_weights(searches: dict[str, Seen]) -> None:
    one, other = (searches[prior] for prior in PRIORS)
    assert one.losses == other.losses
    assert set(one.losses) == {"adversarial_loss", "clip_loss", "visibility_penalty", "latent_loss"}
    (mine,), (theirs,) = one.faces, other.faces
    assert mine.settings == theirs.settings and mine.seed == theirs.seed == 3
    assert mine.target.decoy.keys() == theirs.target.decoy.keys() == set(one.surrogates)
    for name, own in mine.target.original.items():
        assert torch.equal(own, theirs.target.original[name])
    assert mine.text is not None and theirs.text is not None
    assert torch.equal(mine.text[1], theirs.text[1])
