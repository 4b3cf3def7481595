"""The search by itself: a prior of one number and recognisers that read one colour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.api import CancelToken
from c2p_core.errors import Cancelled
from c2p_core.faces.canvas import CanvasFace, Change
from c2p_core.priors.prior import Code, Rendered
from c2p_core.recognition import Recogniser
from c2p_core.search import FaceSearch, SearchResult, SearchSettings, search
from c2p_core.terms import Target


class Tint:
    """A prior that can only make the picture redder."""

    def __init__(self, pixels: Tensor, learning_rate: float = 0.2) -> None:
        self.pixels = pixels
        self.learning_rates = {"tint": learning_rate}

    def preview(self, look: Tensor) -> Tensor:
        return self.pixels

    def with_look(self, look: Tensor) -> Tint:
        return self

    def start(self) -> Code:
        return {"tint": torch.zeros(1)}

    def render(self, code: Code) -> Rendered:
        density = -code["tint"] * torch.tensor([0.2, -0.1, 0.0])[:, None, None]
        return Rendered((self.pixels - density).clamp(0, 1), torch.zeros(2, 4, 4), density)

    def latent_loss(self, code: Code, rendered: Rendered) -> Tensor:
        return code["tint"].square().sum()

    def visibility_penalty(self, rendered: Rendered) -> Tensor:
        return torch.relu(5 * rendered.density.abs().max() - 10.0)

    def change(self, code: Code) -> Change:
        raise AssertionError("the search never asks for the full-size change")


def mean_colour(images: Tensor, mesh: Tensor) -> Tensor:
    return F.normalize(images.mean((2, 3)) - 0.4, dim=1)


def recogniser(name: str = "red", family: str = "colour") -> Recogniser:
    return Recogniser(name, family, "CC0-1.0", far1=0.8, far01=0.9, impostor_std=0.1, embed=mean_colour)


FACE = CanvasFace(torch.full((3, 256, 256), 0.5), torch.rand(468, 2) * 256)
PLAIN = SearchSettings(steps=40, latent_weight=0.0)


OWN = mean_colour(FACE.pixels[None], FACE.mesh[None])[0]


def run_search(target: Target, settings: SearchSettings = PLAIN, seed: int = 0, **more: Any) -> FaceSearch:
    prior = Tint(FACE.pixels)
    return FaceSearch(prior, FACE, prior.start(), target, None, settings, seed, **more)


def run(
    settings: SearchSettings = PLAIN, seed: int = 0, cancel: CancelToken | None = None, **more: Any
) -> SearchResult:
    return search([run_search(Target({"red": OWN}, {}), settings, seed, **more)], [recogniser()], cancel)[0]


def similarity(result: SearchResult) -> float:
    before, after = FACE.pixels[None], Tint(FACE.pixels).render(result.code).pixels[None]
    return float((mean_colour(before, FACE.mesh) * mean_colour(after, FACE.mesh)).sum())


def test_the_similarity_falls_below_the_threshold_by_the_margin() -> None:
    assert similarity(run()) < 0.8 - PLAIN.margin * 0.1 + 1e-4


def test_the_search_stops_once_every_loss_is_zero() -> None:
    result = run()
    assert result.loss == 0.0
    assert result.steps < PLAIN.steps


def test_the_same_seed_gives_the_same_code() -> None:
    assert torch.equal(run(seed=1).code["tint"], run(seed=1).code["tint"])


def test_the_latent_loss_keeps_the_code_near_the_start() -> None:
    regularised = SearchSettings(steps=40, latent_weight=20.0)
    assert float(run(regularised).code["tint"].abs()) < 0.2 * float(run().code["tint"].abs())


def test_the_similarity_to_the_decoy_rises() -> None:
    decoy = F.normalize(torch.tensor([1.0, -0.3, 0.1]), dim=0)
    (result,) = search([run_search(Target({"red": OWN}, {"red": decoy}))], [recogniser()])
    after = mean_colour(Tint(FACE.pixels).render(result.code).pixels[None], FACE.mesh[None])[0]
    assert float(after @ decoy) > float(OWN @ decoy) + 0.3


def test_the_similarity_to_the_nearest_further_picture_falls_too() -> None:
    target = Target({"red": -OWN}, {}, {"red": torch.stack([-OWN, OWN])})
    (result,) = search([run_search(target)], [recogniser()])
    assert result.loss == 0.0
    assert similarity(result) < 0.8 - PLAIN.margin * 0.1 + 1e-4
    # Recognisers that have seen no further picture only compare with the person.
    (without,) = search([run_search(replace(target, away={}))], [recogniser()])
    assert float(without.code["tint"].abs()) < 0.1 * float(result.code["tint"].abs())


def test_cancel_takes_effect_within_one_step() -> None:
    token, reported = CancelToken(), []

    def step(number: int, steps: int) -> None:
        reported.append(number)
        if number == 3:
            token.cancel()

    with pytest.raises(Cancelled):
        run(on_step=step, cancel=token)
    assert reported[-1] == 3


def test_every_step_is_reported() -> None:
    reported: list[tuple[int, int]] = []
    result = run(on_step=lambda step, steps: reported.append((step, steps)))
    assert reported == [(n, PLAIN.steps) for n in range(result.steps)]


def test_recognisers_align_the_face_by_detected_landmarks() -> None:
    meshes: list[Tensor] = []

    def embed(images: Tensor, mesh: Tensor) -> Tensor:
        meshes.append(mesh[0].detach())
        return mean_colour(images, mesh)

    spy = Recogniser("red", "colour", "CC0-1.0", far1=-2.0, far01=-1.0, impostor_std=0.1, embed=embed)
    elsewhere = FACE.mesh + 40.0
    face = run_search(Target({"red": OWN}, {}), SearchSettings(steps=17), find_landmarks=lambda pixels, mesh: elsewhere)
    search([face], [spy])
    # Sixteen steps, an evaluation, one step and the last evaluation.
    evaluations, step_after = [meshes[16], meshes[18]], meshes[17]
    assert all(torch.equal(mesh, elsewhere) for mesh in evaluations)
    # In the steps they are mirrored and jittered, so that only their height is comparable.
    assert abs(float((step_after - elsewhere)[:, 1].mean())) < 10.0


def spy(name: str, family: str, far1: float, calls: list[str]) -> Recogniser:
    """A recogniser that records its name whenever it is active; with ``far1`` 2 it is fooled by everything."""

    def embed(images: Tensor, mesh: Tensor) -> Tensor:
        calls.append(name)
        return mean_colour(images, mesh)

    return Recogniser(name, family, "CC0-1.0", far1, far1 + 0.1, impostor_std=0.1, embed=embed)


FOOLED, STUBBORN = 2.0, -2.0


def list_active(recognisers: list[Recogniser], calls: list[str], steps: int) -> list[str]:
    """The recognisers of each step, in a search too short for an evaluation before its end."""
    target = Target(dict.fromkeys((r.name for r in recognisers), OWN), {})
    face = run_search(target, SearchSettings(steps=steps))
    search([replace(face, inverted=Tint(FACE.pixels, learning_rate=0.0))], recognisers)
    return calls[: -len(recognisers)]


def test_a_recogniser_with_zero_loss_is_active_only_every_fourth_step() -> None:
    calls: list[str] = []
    recognisers = [spy("fooled", "one", FOOLED, calls), spy("stubborn", "other", STUBBORN, calls)]
    active = list_active(recognisers, calls, 12)
    assert active.count("stubborn") == 12
    assert active.count("fooled") == 3
    # In the steps 0, 4 and 8.
    assert [n for n, name in enumerate(active) if name == "fooled"] == [0, 5, 10]


def test_one_recogniser_is_active_in_every_step_even_when_all_losses_are_zero() -> None:
    calls: list[str] = []
    active = list_active([spy(name, name, FOOLED, calls) for name in ("first", "second")], calls, 12)
    assert active.count("first") == 12 and active.count("second") == 3


def test_recognisers_of_one_family_alternate_while_they_match() -> None:
    calls: list[str] = []
    active = list_active([spy(name, "family", STUBBORN, calls) for name in ("elder", "younger")], calls, 12)
    assert active == 6 * ["elder", "younger"]


def test_both_recognisers_of_a_family_with_zero_losses_are_rechecked() -> None:
    calls: list[str] = []
    family = [spy(name, "family", FOOLED, calls) for name in ("elder", "younger")]
    active = list_active([*family, spy("stubborn", "other", STUBBORN, calls)], calls, 15)
    assert active.count("elder") >= 2 and active.count("younger") >= 2


# Side by side.


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Blobs:
    """A prior that moves the picture and paints it in coarse blobs of light."""

    learning_rates: Mapping[str, float] = {"light": 0.1, "shift": 0.1}

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels

    def preview(self, look: Tensor) -> Tensor:
        return self.pixels

    def with_look(self, look: Tensor) -> Blobs:
        return self

    def start(self) -> Code:
        return {"light": torch.zeros(8, 8), "shift": torch.zeros(2, 8, 8)}

    def render(self, code: Code) -> Rendered:
        density = F.interpolate(code["light"][None, None], (256, 256), mode="bilinear")[0].expand(3, -1, -1)
        return Rendered(self.pixels * torch.exp(-0.3 * density), code["shift"], density)

    def latent_loss(self, code: Code, rendered: Rendered) -> Tensor:
        return code["light"].square().mean() + code["shift"].square().mean()

    def visibility_penalty(self, rendered: Rendered) -> Tensor:
        return torch.relu(rendered.density.abs().mean() - 0.5)

    def change(self, code: Code) -> Change:
        raise AssertionError("the search never asks for the full-size change")


def convolving(name: str, seed: int, size: int = 8) -> Recogniser:
    """A small random network that looks around the landmarks' centre."""
    draw = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(shape, generator=draw) for shape in ((size, 3, 7, 7), (2 * size, size, 5, 5)))

    def embed(images: Tensor, mesh: Tensor) -> Tensor:
        inputs = images * torch.sigmoid(mesh.mean((1, 2)) / 128)[:, None, None, None] - 0.3
        features = torch.tanh(F.conv2d(torch.tanh(F.conv2d(inputs, first, stride=4) / 12), second, stride=3) / 12)
        return F.normalize(features.flatten(1), dim=1)

    return Recogniser(name, name, "CC0-1.0", far1=0.3, far01=0.4, impostor_std=0.1, embed=embed)


CROWD = [convolving(name, seed) for seed, name in enumerate("abcd")]


def blob_search(seed: int = 0, steps: int = 20, **more: Any) -> FaceSearch:
    """A face of random pixels, whose search has the same seed as they."""
    draw = torch.Generator().manual_seed(seed)
    face = CanvasFace(torch.rand(3, 256, 256, generator=draw), 256 * torch.rand(468, 2, generator=draw))
    prior = Blobs(face.pixels)
    target = Target({r.name: r.embed(face.pixels[None], face.mesh[None])[0] for r in CROWD}, {})
    return FaceSearch(prior, face, prior.start(), target, None, SearchSettings(steps=steps), seed, **more)


def search_side_by_side(threads: int, cancel: CancelToken | None = None, **more: Any) -> SearchResult:
    torch.set_num_threads(1)
    face = blob_search(**more)
    torch.set_num_threads(threads)
    return search([face], CROWD, cancel)[0]


@pytest.mark.usefixtures("two_threads")
def test_one_thread_and_two_find_the_same_code_bit_for_bit() -> None:
    alone, together = search_side_by_side(1), search_side_by_side(2)
    assert alone.loss == together.loss and alone.steps == together.steps
    for name, part in alone.code.items():
        assert float(part.abs().max()) > 0.1
        assert torch.equal(part, together.code[name]), name


@pytest.mark.usefixtures("two_threads")
def test_each_recogniser_has_one_core_and_the_thread_count_is_restored() -> None:
    during = []
    search_side_by_side(2, on_step=lambda step, steps: during.append(torch.get_num_threads()))
    assert set(during) == {1}
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_the_thread_count_is_restored_after_cancelling() -> None:
    token = CancelToken()
    with pytest.raises(Cancelled):
        search_side_by_side(2, cancel=token, on_step=lambda step, steps: token.cancel())
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_the_thread_count_is_restored_after_a_recogniser_fails() -> None:
    def fail(images: Tensor, mesh: Tensor) -> Tensor:
        raise RuntimeError("out of memory")

    broken = Recogniser("red", "colour", "CC0-1.0", far1=0.8, far01=0.9, impostor_std=0.1, embed=fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        search([run_search(Target({"red": OWN}, {}))], [broken])
    assert torch.get_num_threads() == 2


# Several faces.


def counting(recogniser: Recogniser, sizes: list[int]) -> Recogniser:
    """The same recogniser, which records how many pictures it is given at once."""

    def embed(images: Tensor, mesh: Tensor) -> Tensor:
        sizes.append(len(images))
        return recogniser.embed(images, mesh)

    return replace(recogniser, embed=embed)


def test_faces_searched_together_get_the_same_result_as_alone() -> None:
    # Of different lengths, as later photos of a person are searched in fewer steps.
    faces = [blob_search(seed, steps) for seed, steps in enumerate((5, 6, 3))]
    together = search(faces, CROWD)
    for face, result in zip(faces, together, strict=True):
        (alone,) = search([face], CROWD)
        assert result.steps == alone.steps and abs(result.loss - alone.loss) < 1e-4
        for name, part in alone.code.items():
            assert float(part.abs().max()) > 0.05
            assert torch.allclose(result.code[name], part, atol=2e-3), name


def test_a_network_sees_the_pictures_of_all_faces_at_once() -> None:
    sizes: list[int] = []
    search([blob_search(seed, 1) for seed in range(3)], [counting(recogniser, sizes) for recogniser in CROWD])
    # A step and the evaluation, by each of four recognisers.
    assert sizes == [3] * 8


def test_every_face_reports_its_own_steps() -> None:
    reported: list[tuple[str, int]] = []
    faces = [
        blob_search(seed, steps, on_step=lambda step, steps, name=name: reported.append((name, step)))
        for seed, (name, steps) in enumerate((("one", 1), ("other", 2)))
    ]
    search(faces, CROWD)
    assert [step for name, step in reported if name == "one"] == [0]
    assert [step for name, step in reported if name == "other"] == [0, 1]


def test_cancel_stops_all_faces() -> None:
    token = CancelToken()
    faces = [blob_search(seed, on_step=lambda step, steps: token.cancel()) for seed in range(2)]
    with pytest.raises(Cancelled):
        search(faces, CROWD, token)
