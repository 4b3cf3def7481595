"""Puts measurements, messages, settings and progress into the protocol's form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from worker_client.constants import PROGRESS, PROTOCOL

from c2p_core import errors
from c2p_core.api import Computation, FaceReport, Progress, ProtectRequest
from c2p_core.faces.amounts import Amounts
from c2p_core.io.report import face_report
from c2p_core.search import SearchSettings
from c2p_core.version import __version__
from c2p_core.worker.protocol import Header

# Fields of a request that are omitted: pixels, and those that the protocol has in another form.
_OMITTED_FIELDS = ("photo", "original", "faces", "layers", "looks")


def list_settings(
    request: ProtectRequest,
    reports: Sequence[FaceReport],
    output: str,
    amounts: Amounts,
    computation: Computation | None = None,
) -> dict[str, Any]:
    """List all settings that determined the result, for the layer's parasite, with the names of models where known."""
    settings = {name: value for name, value in vars(request).items() if name not in _OMITTED_FIELDS}
    if computation is not None:
        settings |= {name: getattr(computation, name) for name in ("profile", "prior", "clip")}
    settings["steps"] = request.steps or SearchSettings().steps
    protected_faces = [{"number": face.number, "box": face.box} for face in reports if face.similarities]
    versions = {"program": __version__, "protocol": PROTOCOL}
    return {**settings, **asdict(amounts), "output": output, "faces": protected_faces, **versions}


def describe_faces(reports: Sequence[FaceReport]) -> list[dict[str, Any]]:
    """Describe the measurements of faces; whoever shows them puts them into words."""
    return [face_report(face) for face in reports]


def describe_messages(messages: Iterable[errors.Message]) -> list[dict[str, Any]]:
    return [message.described() for message in messages]


def describe_progress(progress: Progress, fraction: float, seconds_left: float | None) -> Header:
    position = {name: getattr(progress, name) for name in ("stage", "face", "faces", "step", "steps")}
    rounded = None if seconds_left is None else round(seconds_left, 1)
    return {"kind": PROGRESS, **position, "fraction": round(fraction, 4), "seconds_left": rounded}


def average_seconds(request: ProtectRequest, reports: Sequence[FaceReport]) -> float | None:
    """Seconds per face, or None if the number of steps was not the default."""
    seconds = [face.seconds for face in reports if face.steps]
    return round(sum(seconds) / len(seconds), 1) if seconds and request.steps is None else None
