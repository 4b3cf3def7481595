"""Our MTCNN where its parity with the original, which tests/convert checks, does not reach."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from c2p_core.faces import mtcnn
from c2p_core.faces.mtcnn import SMALLEST_FACE, MaxPool, Mtcnn, suppress
from c2p_core.models.store import ModelStore
from c2p_core.models.weights import load_weights


def overlap(a: torch.Tensor, b: torch.Tensor, of: str) -> float:
    low, high = torch.maximum(a[:2], b[:2]), torch.minimum(a[2:], b[2:])
    shared = float((high - low).clamp(min=0).prod())
    areas = [float((box[2:] - box[:2]).prod()) for box in (a, b)]
    return shared / (sum(areas) - shared if of == "union" else min(areas))


@settings(deadline=None)
@given(
    st.integers(0, 25), st.integers(0, 1000), st.sampled_from([0.1, 0.5, 0.7]), st.sampled_from(["union", "smaller"])
)
def test_suppression_drops_boxes_that_overlap_a_better_one(count: int, seed: int, limit: float, of: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 4
    boxes = torch.cat([corner, corner + 0.5 + torch.rand(count, 2, generator=generator)], 1)
    scores = torch.rand(count, generator=generator)
    expected: list[int] = []
    for index in scores.argsort(descending=True).tolist():
        if all(overlap(boxes[index], boxes[k], of) <= limit for k in expected):
            expected.append(index)
    assert suppress(boxes, scores, limit, of).tolist() == expected


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [2, 3])
def test_pooling_equals_torchs(size: int, memory_format: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    for rows, columns in [(10, 10), (10, 11), (11, 4), (4, 3), (3, 3)]:
        x = torch.randn(2, 5, rows, columns, generator=generator).contiguous(memory_format=memory_format)
        pooled = MaxPool(size)(x)
        assert torch.equal(pooled, F.max_pool2d(x, size, 2, ceil_mode=True))
        assert pooled.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("side", [1, SMALLEST_FACE - 1, SMALLEST_FACE, 64])
def test_a_picture_without_faces_gives_none_however_small_it_is(side: int) -> None:
    network = load_weights(Mtcnn(), ModelStore(offline=True).obtain("mtcnn"))
    points, certainties = network(torch.full((3, side, 2 * side), 90.0))
    assert points.shape == (0, 5, 2) and certainties.shape == (0,)


def test_the_input_is_not_modified() -> None:
    network = load_weights(Mtcnn(), ModelStore(offline=True).obtain("mtcnn"))
    picture = torch.rand((3, 90, 80), generator=torch.Generator().manual_seed(0)) * 255
    before = picture.clone()
    network(picture)
    assert torch.equal(picture, before)


def test_a_large_picture_shrunk_by_way_of_its_half_gives_the_same_points(monkeypatch: pytest.MonkeyPatch) -> None:
    network = load_weights(Mtcnn(), ModelStore(offline=True).obtain("mtcnn"))
    portrait = torch.from_numpy(data.astronaut()).permute(2, 0, 1).float()
    group = F.interpolate(portrait[None], 433, mode="bilinear", antialias=True)[0].repeat(1, 3, 3)
    directly, _ = network(group)
    monkeypatch.setattr(mtcnn, "LARGE", 0)
    by_halves, _ = network(group)
    assert len(by_halves) == len(directly) == 9
    nearest = torch.cdist(by_halves.flatten(1), directly.flatten(1)).argmin(1)
    assert (by_halves - directly[nearest]).abs().max() <= 2.0  # px
