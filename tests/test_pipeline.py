"""The whole way through a photo with the real models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor

from c2p_core import compare
from c2p_core.api import CancelToken, Face, Part, Progress, ProtectRequest, ProtectResult
from c2p_core.compare import check
from c2p_core.device import find_gpu_problem, pick_device
from c2p_core.errors import BadRequest, Cancelled, Message, ModelUnavailable, NoFace
from c2p_core.faces import find_faces_in
from c2p_core.faces.canvas import CanvasFace
from c2p_core.faces.view import View
from c2p_core.guidance.looks import list_prompt_warnings
from c2p_core.models.loaded import WarmModels, get_recognisers, split_hold_out
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.pipeline import protect
from c2p_core.priors.makeup import MakeupPrior
from c2p_core.priors.wplus import WPlusPrior
from c2p_core.recognition import Recogniser
from tests.error_assertions import raising

REQUEST = ProtectRequest(Photo(data.astronaut()), prompt="red lipstick and smoky eyes", steps=30)


@pytest.fixture(scope="module")
def result(store: ModelStore, warm: WarmModels) -> ProtectResult:
    return protect(REQUEST, store=store, warm=warm)


@pytest.mark.slow
def test_optimised_recognisers_no_longer_match_and_the_held_out_similarity_falls(result: ProtectResult) -> None:
    (face,) = result.faces
    optimised = [s for s in face.similarities if not s.held_out]
    held_out = [s for s in face.similarities if s.held_out]
    assert any(s.after < s.far1 for s in optimised)
    assert held_out and all(s.after < s.before - 0.02 for s in held_out)


@pytest.mark.slow
def test_the_rest_of_the_photo_is_bit_identical(result: ProtectResult) -> None:
    before, after = REQUEST.photo.pixels, result.photo.pixels
    changed = (before != after).any(axis=2)
    assert changed[60:190, 170:280].any()
    changed[40:210, 150:300] = False
    assert not changed.any()


@pytest.mark.slow
def test_references_of_the_person_are_compared_and_others_are_reported(store: ModelStore, warm: WarmModels) -> None:
    mirrored = Photo(np.ascontiguousarray(data.astronaut()[:, ::-1]))
    (face,) = protect(replace(REQUEST, steps=2, references=(mirrored,)), store=store, warm=warm).faces
    assert all(len(s.references) == 1 and s.references[0][0] > s.far1 for s in face.similarities)
    alone = protect(replace(REQUEST, steps=2, references=(Photo(data.coffee()),)), store=store, warm=warm)
    assert Message("references-of-others", face=1) in alone.warnings
    assert all(s.references == () for s in alone.faces[0].similarities)


@pytest.mark.slow
def test_check_agrees_with_the_report(result: ProtectResult, store: ModelStore, warm: WarmModels) -> None:
    (face,) = check(REQUEST.photo, result.photo, store=store, warm=warm)
    reported = {s.recogniser: s.after for s in result.faces[0].similarities}
    for row in face.similarities:
        assert row.after == pytest.approx(reported[row.recogniser], abs=1e-4)


@pytest.mark.slow
def test_check_matches_the_face_in_a_resized_copy_and_reports_when_there_is_none(
    result: ProtectResult, store: ModelStore, warm: WarmModels
) -> None:
    upload = Image.fromarray(result.photo.pixels).resize((700, 700), Image.Resampling.LANCZOS)
    (face,) = check(REQUEST.photo, Photo(np.asarray(upload)), store=store, warm=warm)
    reported = {s.recogniser: s.after for s in result.faces[0].similarities}
    assert all(row.after == pytest.approx(reported[row.recogniser], abs=0.05) for row in face.similarities)

    blacked_out = result.photo.pixels.copy()
    blacked_out[40:210, 150:300] = 0
    (face,) = check(REQUEST.photo, Photo(blacked_out), store=store, warm=warm)
    assert face.skipped == Message("no-face-in-its-place")


def test_a_detection_that_can_not_be_repeated_is_not_compared(
    store: ModelStore, warm: WarmModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_with_a_pattern(view: View, store: ModelStore) -> tuple[Face, ...]:
        (face,) = find_faces_in(view, store)
        x0, y0, x1, y1 = face.box
        pattern = replace(
            face, number=2, mesh=face.mesh + np.float32((180, 230)), box=(x0 + 180, y0 + 230, x1 + 180, y1 + 230)
        )
        return face, pattern

    monkeypatch.setattr(compare, "find_faces_in", find_with_a_pattern)
    (face,) = check(REQUEST.photo, REQUEST.photo, store=store, warm=warm)
    assert face.number == 1 and face.similarities


@pytest.mark.slow
def test_the_same_request_gives_the_same_bytes(store: ModelStore, warm: WarmModels) -> None:
    short = replace(REQUEST, steps=3)
    assert np.array_equal(protect(short, store=store, warm=warm).photo.pixels, protect(short, store=store).photo.pixels)


@pytest.mark.slow
def test_decoy_mode_raises_the_similarity_to_the_decoy(store: ModelStore, warm: WarmModels) -> None:
    from c2p_core import verify
    from c2p_core.faces import find_faces
    from c2p_core.faces.landmarks import to_tensor
    from c2p_core.io.colour_profiles import to_srgb
    from c2p_core.recognition import load_recognisers
    from c2p_core.recognition.decoys import load_decoys, nearest_decoy

    device = torch.device("cpu")
    recognisers = load_recognisers(("mobileface",), store, device)
    decoys = load_decoys(store.obtain("decoys"), recognisers, device)

    def likeness(photo: Photo) -> float:
        (face,) = find_faces(photo, store)
        embeddings = verify.embed_face(verify.crop_face(to_tensor(to_srgb(photo)), face), recognisers, device)
        return float(embeddings["mobileface"] @ decoy["mobileface"])

    (face,) = find_faces(REQUEST.photo, store)
    start = verify.embed_face(verify.crop_face(to_tensor(to_srgb(REQUEST.photo)), face), recognisers, device)
    decoy = nearest_decoy(start, decoys)
    moved = protect(replace(REQUEST, mode="decoy", recognisers=("mobileface",), prompt=""), store=store, warm=warm)
    assert likeness(moved.photo) > likeness(REQUEST.photo) + 0.05


@pytest.mark.parametrize("short", ["verify.measure_similarities", "measure_robustness"])
def test_out_of_gpu_memory_a_check_falls_back_to_the_processor(
    store: ModelStore, warm: WarmModels, monkeypatch: pytest.MonkeyPatch, short: str
) -> None:
    failed: list[str] = []

    def run_out_of_memory(*_: object) -> tuple[()]:
        failed.append(short)
        if len(failed) == 1:
            raise torch.cuda.OutOfMemoryError
        return ()

    monkeypatch.setattr(compare, "measure_robustness", lambda *_: ())
    monkeypatch.setattr(f"c2p_core.compare.{short}", run_out_of_memory)
    warnings: list[Message] = []
    (face,) = check(REQUEST.photo, REQUEST.photo, store=store, warm=warm, robustness=True, warnings=warnings)
    assert len(failed) == 2 and not face.skipped
    assert warnings == [Message("check-on-processor")]


@pytest.fixture
def useless_card(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A graphics card that this PyTorch has no code for."""

    def return_ones(*_: object, device: str) -> Tensor:
        raise RuntimeError(
            "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors ..."
        )

    find_gpu_problem.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", return_ones)
    yield
    find_gpu_problem.cache_clear()


@pytest.mark.usefixtures("useless_card")
def test_an_unusable_graphics_card_is_ignored_with_a_warning() -> None:
    warnings: list[Message] = []
    assert pick_device("auto", warnings).type == "cpu"
    reason = "CUDA error: no kernel image is available for execution on the device"
    assert warnings == [Message("gpu-unusable", reason=reason)]
    with raising(BadRequest, "cuda-unusable", reason=reason):
        protect(replace(REQUEST, device="cuda"))


def test_naming_recognisers_of_a_single_family_has_its_own_warning() -> None:
    pair = tuple(Recogniser(name, "faceres", "MIT", 0.4, 0.5, 0.1, lambda _, mesh: mesh) for name in ("one", "two"))
    for names, said in (("auto", "nothing-held-out"), (("one", "two"), "nothing-left-to-hold-out")):
        warnings: list[Message] = []
        request = replace(REQUEST, recognisers=names, hold_out="one")  # type: ignore[arg-type]
        assert split_hold_out(pair, request, warnings) == pair
        assert warnings == [Message(said)]


@pytest.mark.parametrize(
    ("prompt", "count"), [("", 0), ("red", 0), ("✨ 123", 1), ("a photo of her", 1), ("красная помада", 3)]
)
def test_a_prompt_that_names_no_makeup_gives_a_warning(prompt: str, count: int) -> None:
    warnings = list_prompt_warnings(prompt)
    assert len(warnings) == count and all(warning == Message("prompt-without-makeup") for warning in warnings[-1:])


def test_a_recogniser_that_appears_between_runs_takes_part_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    store, warm, obtain = ModelStore(offline=True), WarmModels(), ModelStore.obtain

    def hide_model(self: ModelStore, name: str) -> Path:
        if name == "mobileface":
            raise ModelUnavailable("model-missing", name=name, source="")
        return obtain(self, name)

    def list_asked() -> list[object]:
        recognisers, missing = get_recognisers("auto", store, torch.device("cpu"), warm)
        return [*(recogniser.name for recogniser in recognisers), *missing]

    with monkeypatch.context() as patched:
        patched.setattr(ModelStore, "obtain", hide_model)
        assert "mobileface" not in list_asked()
    assert "mobileface" in list_asked()


@pytest.mark.slow
def test_cancelling_raises_and_returns_no_result(store: ModelStore) -> None:
    token, steps = CancelToken(), []

    def watch(progress: Progress) -> None:
        if progress.stage == "search":
            steps.append(progress.step)
            token.cancel()

    with pytest.raises(Cancelled):
        protect(REQUEST, progress=watch, cancel=token, store=store)
    assert len(steps) == 1


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"strength": 7.0}, "strength-out-of-range"),
        ({"prior": "magic"}, "prior-unknown"),
        ({"recognisers": ("magic",)}, "recogniser-unknown"),
        ({"hold_out": "magic"}, "hold-out-unknown"),
        ({"faces": (2,)}, "face-number-unknown"),
        ({"steps": 0}, "steps-out-of-range"),
        ({"seed": -1}, "seed-out-of-range"),
        ({"prompt": "red " * 100}, "prompt-too-long"),
        ({"mode": "hide"}, "mode-unknown"),
        ({"locks": ("brows", "ears")}, "lock-unknown"),
        ({"free_noise": True}, "prior-without-noise"),
    ],
)
def test_an_invalid_request_is_refused(store: ModelStore, wrong: dict[str, object], code: str) -> None:
    with raising(BadRequest, code):
        protect(replace(REQUEST, **wrong), store=store)  # type: ignore[arg-type]


@pytest.mark.parametrize(("prior", "kind"), [("makeup", MakeupPrior), ("stylegan2", WPlusPrior)])
@pytest.mark.parametrize("kept", [True, False])
def test_the_prior_receives_keep_expression_and_locks(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch, prior: str, kind: type, kept: bool
) -> None:
    received: list[tuple[bool, tuple[Part, ...]]] = []

    def invert(
        _self: object, _face: CanvasFace, _strength: float, keep_expression: bool, locks: tuple[Part, ...]
    ) -> None:
        received.append((keep_expression, locks))
        raise Cancelled("cancelled")

    monkeypatch.setattr(kind, "invert", invert)
    with pytest.raises(Cancelled):
        protect(replace(REQUEST, prior=prior, keep_expression=kept, locks=("nose",)), store=store)
    assert received == [(kept, ("nose",))]


def test_a_photo_without_a_face_says_what_to_do(store: ModelStore) -> None:
    with raising(NoFace, "no-face"):
        protect(replace(REQUEST, photo=Photo(data.coffee())), store=store)


def test_pictures_of_different_proportions_are_not_compared(store: ModelStore) -> None:
    with raising(BadRequest, "proportions-differ"):
        check(REQUEST.photo, Photo(data.astronaut()[:300]), store=store)
