"""What the store has to tell reaches the user once, however often the work was begun and whoever loaded the models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from skimage import data

from c2p_core import compare, pipeline, run
from c2p_core.api import ProtectRequest
from c2p_core.compute_plan import Attempt, ComputePlan
from c2p_core.errors import Message
from c2p_core.models.loaded import WarmModels, warm_up
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.subjects import DetectedFaces

PHOTO = Photo(data.astronaut())
NOTICE = Message("model-pinned", name="m", file="m.bin", sha256="0" * 64)
TWICE = (Attempt(ComputePlan(torch.device("cpu")), None),) * 2


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    models = ModelStore(tmp_path, offline=True)
    models.add_notices([NOTICE])
    return models


def fail_once(function: Any) -> Any:
    """The same function, without memory when it is called for the first time, and after it has done its work."""
    calls = 0

    def call(*arguments: Any) -> Any:
        nonlocal calls
        calls, made = calls + 1, function(*arguments)
        if calls == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return made

    return call


def test_a_search_that_is_begun_again_tells_them(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "plan_attempts", lambda device, faces: TWICE)
    monkeypatch.setattr(pipeline, "search_faces", fail_once(pipeline.search_faces))
    request = ProtectRequest(PHOTO, device="cpu", recognisers=("mobileface",))
    found = pipeline.find_direction(request, store=store, detected=DetectedFaces((), (), ()))
    assert found.warnings.count(NOTICE) == 1 and store.take_notices() == []


def test_a_comparison_that_is_begun_again_tells_them(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "plan_attempts", lambda device, faces: TWICE)
    monkeypatch.setattr(compare.verify, "measure_similarities", fail_once(compare.verify.measure_similarities))
    warnings: list[Message] = []
    compare.check(PHOTO, PHOTO, store=store, device="cpu", recognisers=("mobileface",), warnings=warnings)
    assert warnings.count(NOTICE) == 1 and store.take_notices() == []


def test_a_comparison_that_nobody_listens_to_leaves_them(store: ModelStore) -> None:
    compare.check(PHOTO, PHOTO, store=store, device="cpu", recognisers=("mobileface",))
    assert store.take_notices() == [NOTICE]


def test_models_that_are_loaded_in_advance_leave_them_for_the_first_job(store: ModelStore) -> None:
    warm_up(store, "cpu", WarmModels())
    assert store.take_notices() == [NOTICE]
