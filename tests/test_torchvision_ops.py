"""torchvision imports everywhere, and our suppression equals the definition."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from c2p_core import torchvision_ops


def overlap(a: torch.Tensor, b: torch.Tensor) -> float:
    low, high = torch.maximum(a[:2], b[:2]), torch.minimum(a[2:], b[2:])
    shared = float((high - low).clamp(min=0).prod())
    return shared / (float((a[2:] - a[:2]).prod()) + float((b[2:] - b[:2]).prod()) - shared)


@given(st.integers(0, 25), st.integers(0, 1000), st.sampled_from([0.1, 0.5, 0.7]))
def test_nms_keeps_the_best_and_drops_what_overlaps_it(count: int, seed: int, threshold: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 4
    boxes = torch.cat([corner, corner + 0.5 + torch.rand(count, 2, generator=generator)], 1)
    scores = torch.rand(count, generator=generator)
    kept: list[int] = []
    for index in scores.argsort(descending=True).tolist():
        if all(overlap(boxes[index], boxes[k]) <= threshold for k in kept):
            kept.append(index)
    assert torchvision_ops.nms(boxes, scores, threshold).tolist() == kept


def test_torchvision_works_after_ensure() -> None:
    torchvision_ops.ensure()
    from torchvision.ops import nms

    boxes = torch.tensor([[0.0, 0, 2, 2], [0.1, 0, 2.1, 2], [5, 5, 6, 6]])
    assert nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist() == [0, 2]
