"""The whole way through a photo on a graphics card: on one that is none, under the rules of Apple's MPS.

See ``fake_gpu``: what is not moved to the card, or is computed in double precision on it, fails here as it would there.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor, nn

from c2p_core import face_search, run, verify
from c2p_core.activations import is_weight, keep_in_main_memory
from c2p_core.api import Progress, ProtectRequest
from c2p_core.device import find_gpu_problem, pick_device
from c2p_core.direction import apply_direction, work_where_it_fits
from c2p_core.errors import BadRequest, Message
from c2p_core.faces.amounts import AS_FOUND
from c2p_core.faces.canvas import CanvasFace
from c2p_core.gpu_memory import is_out_of_gpu_memory
from c2p_core.models.loaded import Models, WarmModels
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.pipeline import find_direction, protect
from c2p_core.priors import wplus
from c2p_core.priors.inversion import InversionSettings
from c2p_core.recognition import Recogniser
from c2p_core.search import FaceSearch, SearchResult, search
from tests.error_assertions import raising
from tests.fake_gpu import fake_gpu

REQUEST = ProtectRequest(
    Photo(data.astronaut()), prompt="red lipstick", recognisers=("mobileface", "dlib-resnet"), steps=2
)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """A card that every run takes."""
    with fake_gpu() as device:
        monkeypatch.setattr(run, "pick_device", lambda name, warnings=None: device)
        yield device


@pytest.fixture(scope="module")
def pair() -> Photo:
    """Two faces, one of them mirrored."""
    face = data.astronaut()[:256, 96:352]
    return Photo(np.concatenate([face, face[:, ::-1]], 1))


def differ(first: Photo, second: Photo) -> int:
    return int(np.abs(first.pixels.astype(int) - second.pixels).max())


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["makeup", "stylegan2"])
def test_a_photo_gets_the_same_result_on_the_card_and_the_processor(
    card: torch.device, store: ModelStore, prior: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any
) -> None:
    monkeypatch.setenv("C2P_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(wplus, "InversionSettings", lambda: InversionSettings(latent_steps=1, tuning_steps=1))
    request = replace(REQUEST, prior=prior)
    on_card = protect(request, store=store)
    assert on_card.computation is not None and on_card.computation.device == "fakegpu" and not on_card.warnings
    monkeypatch.setattr(run, "pick_device", lambda name, warnings=None: torch.device("cpu"))
    monkeypatch.setenv("C2P_CACHE", str(tmp_path_factory.mktemp("cache")))
    on_processor = protect(request, store=store)
    assert on_processor.computation is not None and on_processor.computation.device == "cpu"
    assert differ(on_processor.photo, request.photo) > 10 and differ(on_card.photo, on_processor.photo) <= 1


@pytest.mark.slow
def test_faces_searched_in_one_batch_get_the_same_result_as_one_by_one(
    card: torch.device, store: ModelStore, pair: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[int] = []

    def watch(faces: Sequence[FaceSearch], *arguments: Any) -> list[SearchResult]:
        groups.append(len(faces))
        return search(faces, *arguments)

    monkeypatch.setattr(face_search, "search", watch)
    reported: list[Progress] = []
    together = find_direction(replace(REQUEST, photo=pair), store=store, progress=reported.append)
    assert groups == [2] and together.computation is not None and together.computation.faces_at_once == 2
    steps = [(progress.face, progress.step) for progress in reported if progress.stage == "search"]
    assert steps == [(1, 0), (1, 1), (2, 0), (2, 1)]
    monkeypatch.setattr(run, "pick_device", lambda name, warnings=None: torch.device("cpu"))
    alone = find_direction(replace(REQUEST, photo=pair), store=store)
    assert groups == [2, 1, 1]
    for batched, single in zip(together.changes, alone.changes, strict=True):
        assert batched.steps == single.steps == 2
        for name, part in single.code.items():
            assert torch.allclose(batched.code[name].cpu(), part, atol=1e-3), name


@pytest.mark.slow
@pytest.mark.parametrize("failures", [1, 2, 3])
def test_a_run_uses_less_memory_each_time_the_card_is_full_and_reports_it(
    card: torch.device, store: ModelStore, pair: Photo, failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[str, int, bool]] = []

    def run_out_of_memory(faces: Sequence[FaceSearch], *arguments: Any) -> list[SearchResult]:
        tried.append((faces[0].face.pixels.device.type, len(faces), faces[0].settings.one_recogniser_per_step))
        if len(tried) <= failures:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return search(faces, *arguments)

    monkeypatch.setattr(face_search, "search", run_out_of_memory)
    request = replace(REQUEST, photo=pair, prompt="natural makeup", steps=1, recognisers=("mobileface",))
    direction = find_direction(request, store=store)
    steps = [("fakegpu", 2, False), ("fakegpu", 1, False), ("fakegpu", 1, True), ("cpu", 1, False)]
    notices = ["faces-in-turns", "search-in-turns", "photo-on-processor"]
    # What succeeded goes on with the other face.
    assert tried == [*steps[: failures + 1], steps[failures]]
    assert [w.code for w in direction.warnings if w.code in notices] == [notices[failures - 1]]
    assert direction.computation is not None and direction.computation.device == steps[failures][0]
    assert len(direction.changes) == 2


def test_a_run_without_memory_for_the_models_falls_back_to_the_processor(
    card: torch.device, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[tuple[str, bool]] = []

    def load(request: ProtectRequest, _store: object, device: torch.device, *_: Any, recorded: bool) -> Models:
        loads.append((device.type, recorded))
        if device.type != "cpu":
            raise RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)")
        raise BadRequest("pictures-the-same")  # far enough

    monkeypatch.setattr("c2p_core.loaded_run.load_models", load)
    with raising(BadRequest, "pictures-the-same"):
        protect(REQUEST, store=store, warm=WarmModels())
    assert loads == [("fakegpu", False)] * 2 + [("cpu", False)]


@pytest.mark.slow
def test_a_search_is_applied_on_the_processor_if_the_card_gets_full(
    card: torch.device, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    direction = find_direction(replace(REQUEST, steps=1, recognisers=("mobileface",)), store=store)
    embed = verify.embed_face
    (face,) = direction.changes
    reference = embed(face.subject.original_canvas, direction.recognisers, card)
    direction = replace(direction, changes=(replace(face, references=(reference,)),))
    expected = apply_direction(direction, AS_FOUND)

    def run_out_of_memory(
        canvas: CanvasFace, recognisers: Sequence[Recogniser], device: torch.device
    ) -> verify.Embeddings:
        if device == card:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return embed(canvas, recognisers, device)

    monkeypatch.setattr(verify, "embed_face", run_out_of_memory)
    result = work_where_it_fits(direction, WarmModels(), lambda direction: apply_direction(direction, AS_FOUND))
    assert result.warnings == (*expected.warnings, Message("measured-on-processor"))
    assert differ(result.photo, expected.photo) == 0
    ((actual,), (reference_similarity,)) = (result.faces[0].similarities for result in (result, expected))
    assert actual.after == pytest.approx(reference_similarity.after, abs=1e-3)
    assert actual.references[0] == pytest.approx(reference_similarity.references[0], abs=1e-3)


# What backward passes need


def test_activations_kept_in_main_memory_give_the_same_gradients() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.Conv2d(4, 2, 3), nn.Sigmoid()).requires_grad_(False)
    picture = torch.rand(1, 3, 16, 16)

    def differentiate(device: torch.device) -> Tensor:
        leaf = picture.to(device).requires_grad_()
        (gradient,) = torch.autograd.grad(network.to(device)(leaf).square().sum(), [leaf])
        return gradient.cpu()

    expected = differentiate(torch.device("cpu"))
    with fake_gpu() as device, keep_in_main_memory():
        assert torch.equal(differentiate(device), expected)


@pytest.mark.parametrize("layer", [nn.Linear(5, 7), nn.Conv1d(5, 7, 1)])
def test_weights_stay_on_the_card_also_as_the_view_that_a_dense_layer_saves(layer: nn.Module) -> None:
    layer.requires_grad_(False)
    leaf = torch.rand(2, 5, 1 if isinstance(layer, nn.Conv1d) else 5).requires_grad_()
    weights: list[int] = []

    def pack(saved: Tensor) -> Tensor:
        weights.append(saved.untyped_storage().data_ptr()) if is_weight(saved) else None
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        layer(leaf)
    assert weights == [layer.weight.untyped_storage().data_ptr()]


@pytest.mark.parametrize("aside", [True, False])
def test_activations_kept_in_main_memory_leave_the_card(card: torch.device, aside: bool) -> None:
    leaf = torch.rand(4).to(card).requires_grad_()
    with keep_in_main_memory() if aside else nullcontext():
        features = leaf * 2.0
        on_card = weakref.ref(features.raw)  # type: ignore[attr-defined]
        loss = features.square().sum()  # whose gradient needs the features
    del features
    gc.collect()
    assert (on_card() is None) == aside
    (gradient,) = torch.autograd.grad(loss, [leaf])
    assert torch.allclose(gradient.cpu(), 8.0 * leaf.detach().cpu())


# Which device


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Mac, as PyTorch reports it."""
    find_gpu_problem.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    yield
    find_gpu_problem.cache_clear()


@pytest.mark.usefixtures("apple")
def test_mps_is_taken_only_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("c2p_core.device.find_gpu_problem", lambda kind: "")
    assert pick_device("auto").type == "cpu" and pick_device("mps").type == "mps"


@pytest.mark.usefixtures("apple")
def test_an_unusable_mps_device_is_refused() -> None:
    # This PyTorch has no MPS, as one on a Mac may lack an operator.
    with raising(BadRequest, "mps-unusable"):
        pick_device("mps")


def test_mps_is_refused_if_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with raising(BadRequest, "mps-missing"):
        pick_device("mps")


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB, max allowed: 18.13 GB)"), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), True),
        (torch.AcceleratorError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("MPS does not support float64"), False),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"), False),
    ],
)
def test_full_gpu_memory_is_distinguished_from_other_errors(error: RuntimeError, full: bool) -> None:
    assert is_out_of_gpu_memory(error) == full
