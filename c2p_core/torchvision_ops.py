"""Lets torchvision import where its compiled operators do not load, as with a CPU build of torch beside a CUDA wheel.

torchvision registers shapes for ``torchvision::nms`` and ``torchvision::qnms`` when it is imported and fails when its
extension did not define them. ``ensure`` defines both first, and gives ``nms`` a correct implementation.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor

_library: torch.library.Library | None = None


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: (N, 4) as x0, y0, x1, y1.
        scores: (N,).
        iou_threshold: boxes that overlap a better one by more than this are dropped.

    Returns:
        (K,) int64, indices of the kept boxes, best first.
    """
    rest = scores.argsort(descending=True, stable=True)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(best)
        low = torch.maximum(boxes[best, :2], boxes[rest, :2])
        high = torch.minimum(boxes[best, 2:], boxes[rest, 2:])
        overlap = (high - low).clamp(min=0).prod(1)
        rest = rest[overlap <= iou_threshold * (area[best] + area[rest] - overlap)]
    return torch.stack(kept) if kept else rest


def _compiled_operators_load() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    for extension in Path(spec.origin).parent.glob("_C*.*"):
        try:
            torch.ops.load_library(str(extension))
        except OSError:
            return False
    return hasattr(torch.ops.torchvision, "nms")


def ensure() -> None:
    """Make ``import torchvision`` work; call it before importing anything that imports torchvision."""
    global _library
    if _library is not None or _compiled_operators_load():
        return
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", nms, "CompositeExplicitAutograd")
    _library = library
    import torchvision.extension

    # torchvision asks this before every call of an operator; ours are there now.
    torchvision.extension._has_ops = lambda: True
