"""Protect Face: the library behind the plug-in and the ``c2p`` command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from c2p_core.api import CancelToken, Face, FaceReport, Photo, Progress, ProtectRequest, ProtectResult, Similarity

if TYPE_CHECKING:
    from c2p_core.pipeline import check, protect

__all__ = [
    "CancelToken",
    "Face",
    "FaceReport",
    "Photo",
    "Progress",
    "ProtectRequest",
    "ProtectResult",
    "Similarity",
    "check",
    "protect",
]


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import; whoever only needs the types does not wait for it.
    if name in ("check", "protect"):
        from c2p_core import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
