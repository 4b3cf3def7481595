"""Single faces with looks of their own, and searches that go on from earlier photos of the person."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage import data

from c2p_core.api import Face, FaceLook, ProtectRequest, ProtectResult, Trace
from c2p_core.errors import BadRequest
from c2p_core.face_settings import choose_face_settings, find_look, interpolate_start, shorten_search, stack_protected
from c2p_core.models.loaded import WarmModels
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.pipeline import protect
from c2p_core.search import SearchSettings
from c2p_core.starting_look import make_literal_look
from c2p_core.validate import check_request
from tests.error_assertions import raising

REQUEST = ProtectRequest(Photo(np.zeros((8, 8, 3), np.uint8)), prompt="blush", strength=0.4, seed=2, locks=("jaw",))
FACE = Face(3, (100.0, 100.0, 200.0, 220.0), 1.0, np.zeros((468, 2), np.float32), 60.0)


def trace(value: float, **code: object) -> Trace:
    return Trace(1, code or {"shape": np.full(4, value, np.float32)}, {"dlib": np.full(2, value, np.float32)})  # type: ignore[arg-type]


def test_a_look_is_completed_by_the_request_and_a_face_without_one_gets_the_request() -> None:
    settings = choose_face_settings(
        FACE, replace(REQUEST, looks=(FaceLook(2, "red lipstick"), FaceLook(3, seed=9, locks=())))
    )
    assert (settings.prompt, settings.strength, settings.seed, settings.locks, settings.literal) == (
        "blush",
        0.4,
        9,
        (),
        True,
    )
    usual = choose_face_settings(FACE, REQUEST)
    assert (usual.prompt, usual.strength, usual.seed, usual.locks, usual.literal) == ("blush", 0.4, 2, ("jaw",), False)


def test_a_look_names_its_face_by_number_or_by_box() -> None:
    near, far = FaceLook((104.0, 98.0, 205.0, 220.0)), FaceLook((300.0, 98.0, 405.0, 220.0))
    assert find_look(FACE, replace(REQUEST, looks=(far, near))) is near
    assert find_look(FACE, replace(REQUEST, looks=(far,))) is None


def test_a_search_goes_on_towards_the_last_code_and_away_from_all_protected_faces() -> None:
    start = {"shape": torch.zeros(4), "relief": torch.ones(3)}
    code = interpolate_start((trace(0.1), trace(0.2)), start)
    assert code["shape"].tolist() == pytest.approx([0.1] * 4) and code["relief"] is start["relief"]
    away = stack_protected((trace(0.1), trace(0.2)), torch.device("cpu"))
    assert away["dlib"].tolist() == [pytest.approx([0.1] * 2), pytest.approx([0.2] * 2)]
    assert interpolate_start((), start) is start and stack_protected((), torch.device("cpu")) == {}


def test_a_search_that_goes_on_from_a_code_takes_fewer_steps() -> None:
    settings = SearchSettings(steps=150)
    assert shorten_search(settings, ()) == settings
    assert shorten_search(settings, (replace(trace(0.1), code={}),)) == settings
    assert shorten_search(settings, (trace(0.1),)).steps <= 100
    assert shorten_search(SearchSettings(steps=1), (trace(0.1),)).steps == 1


@pytest.mark.parametrize(
    ("look", "code"),
    [
        (FaceLook(1, strength=1.5), "strength-out-of-range"),
        (FaceLook(1, seed=-1), "seed-out-of-range"),
        (FaceLook(1, "x" * 301), "prompt-too-long"),
        (FaceLook(1, locks=("ears",)), "lock-unknown"),  # type: ignore[arg-type]
    ],
)
def test_looks_are_checked_as_the_request_is(look: FaceLook, code: str) -> None:
    with raising(BadRequest, code):
        check_request(replace(REQUEST, looks=(look,)))


def test_a_literal_look_is_the_same_on_every_face() -> None:
    first = make_literal_look("red lipstick and smoky eyes", 1)
    assert torch.equal(first, make_literal_look("red lipstick and smoky eyes", 1))
    assert not torch.equal(first, make_literal_look("blue eyeshadow", 1))


@pytest.fixture(scope="module")
def pair() -> Photo:
    """The astronaut twice, side by side."""
    face = data.astronaut()[:260, 100:360]
    return Photo(np.concatenate([face, face[:, ::-1]], 1))


@pytest.fixture(scope="module")
def looked(pair: Photo, warm: WarmModels, store: ModelStore) -> ProtectResult:
    looks = (FaceLook(1, "red lipstick", strength=0.9), FaceLook(2, ""))
    return protect(ProtectRequest(pair, steps=2, looks=looks), store=store, warm=warm)


@pytest.mark.slow
def test_faces_of_one_photo_get_looks_of_their_own(pair: Photo, looked: ProtectResult) -> None:
    first, second = looked.faces
    redder = looked.photo.pixels.astype(int) - pair.pixels
    redder = redder[..., 0] - redder[..., 1]

    def find_strongest(box: tuple[float, float, float, float]) -> int:
        x0, y0, x1, y1 = map(int, box)
        return int(redder[y0:y1, x0:x1].max())

    assert find_strongest(first.box) > 25 > find_strongest(second.box)


@pytest.mark.slow
def test_a_face_with_a_look_leaves_a_trace_that_a_later_search_starts_from(
    pair: Photo, looked: ProtectResult, warm: WarmModels, store: ModelStore
) -> None:
    assert [trace.number for trace in looked.traces] == [1, 2]
    for trace, reported in zip(looked.traces, looked.faces, strict=True):
        assert set(trace.protected) == {s.recogniser for s in reported.similarities}
        assert all(np.linalg.norm(vector) == pytest.approx(1, abs=1e-4) for vector in trace.protected.values())
    first = looked.traces[0]
    far = replace(first, code={name: np.full_like(part, 4.0) for name, part in first.code.items()})
    request = ProtectRequest(pair, steps=1, faces=(1,), looks=(FaceLook(1, earlier=(far,)),))
    (later,) = protect(request, store=store, warm=warm).traces
    # Half of the way, and one step of at most 0.35.
    assert set(later.code) == set(first.code)
    assert all(np.abs(part - 2.0).max() < 0.5 for part in later.code.values())
    assert protect(replace(request, looks=()), store=store, warm=warm).traces == ()
