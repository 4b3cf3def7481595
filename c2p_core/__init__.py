"""Protect Face: the library behind the plug-in and the ``c2p`` command."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from c2p_core.version import __version__

# Torch reads this when it is imported: threads that wait by spinning slow a search down several times as soon as
# another program needs the processor too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if sys.platform == "darwin":
    # Torch reads this too: the processor runs operators that Apple's MPS lacks.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

if TYPE_CHECKING:
    from c2p_core.api import CancelToken, Face, FaceReport, Progress, ProtectRequest, ProtectResult, Similarity
    from c2p_core.compare import check
    from c2p_core.photo import Photo
    from c2p_core.pipeline import protect

__all__ = [
    "CancelToken",
    "Face",
    "FaceReport",
    "Photo",
    "Progress",
    "ProtectRequest",
    "ProtectResult",
    "Similarity",
    "__version__",
    "check",
    "protect",
]

_MODULES = {"Photo": "photo", "check": "compare", "protect": "pipeline"}


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import; callers that only need the types do not wait for it. And the command imports NumPy
    # only after it has checked that there is memory for it.
    if name in __all__:
        return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'api')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
