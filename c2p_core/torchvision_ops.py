"""Makes torchvision importable where its compiled operators do not load, such as a CUDA wheel beside a CPU torch.

On import torchvision registers shapes for ``torchvision::nms`` and ``torchvision::qnms``, and fails if its extension
has not defined them. ``define_missing_operators`` defines both beforehand. Nothing calls them: open_clip imports
torchvision only for its image transformations.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

_library: torch.library.Library | None = None


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


def define_missing_operators() -> None:
    """Make ``import torchvision`` work; call it before importing anything that imports torchvision."""
    global _library
    if _library is not None or _compiled_operators_load():
        return
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _library = library
