"""What a job answers: measurements, messages, settings and progress in the protocol's form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from worker_client.constants import PROGRESS, PROTOCOL

from c2p_core import errors
from c2p_core.api import Computation, FaceReport, Progress, ProtectRequest
from c2p_core.faces.amounts import Amounts
from c2p_core.io.report import NO_PROMISE, OTHER_PHOTOS, describe_face_report, face_report, judged_by_other_photos
from c2p_core.search import SearchSettings
from c2p_core.version import __version__
from c2p_core.worker.protocol import Header

# Fields of a request that are not kept: pixels, and those that the protocol has in another form.
_LEFT_OUT = ("photo", "original", "faces", "layers", "looks")


def list_settings(
    request: ProtectRequest,
    reports: Sequence[FaceReport],
    output: str,
    amounts: Amounts,
    computation: Computation | None = None,
) -> dict[str, Any]:
    """List all settings that determined the result, for the layer's parasite; models by name, where these are known."""
    kept = {name: value for name, value in vars(request).items() if name not in _LEFT_OUT}
    if computation is not None:
        kept |= {name: getattr(computation, name) for name in ("profile", "prior", "clip")}
    kept["steps"] = request.steps or SearchSettings().steps
    done = [{"number": face.number, "box": face.box} for face in reports if face.similarities]
    return {**kept, **asdict(amounts), "output": output, "faces": done, "program": __version__, "protocol": PROTOCOL}


def describe_reports(reports: Sequence[FaceReport]) -> dict[str, Any]:
    """Describe the measurements, for programs and as sentences."""
    return {
        "faces": [face_report(face) for face in reports],
        "sentences": [
            *(describe_face_report(face) for face in reports),
            *([OTHER_PHOTOS] if judged_by_other_photos(reports) else []),
            NO_PROMISE,
        ],
    }


def describe_messages(messages: Iterable[errors.Message]) -> list[dict[str, Any]]:
    return [message.described() for message in messages]


def describe_progress(progress: Progress, fraction: float, seconds_left: float | None) -> Header:
    where = {name: getattr(progress, name) for name in ("stage", "face", "faces", "step", "steps")}
    left = None if seconds_left is None else round(seconds_left, 1)
    return {"kind": PROGRESS, **where, "fraction": round(fraction, 4), "seconds_left": left}


def average_seconds(request: ProtectRequest, reports: Sequence[FaceReport]) -> float | None:
    """Seconds per face, or None if the number of steps was not the default."""
    seconds = [face.seconds for face in reports if face.steps]
    return round(sum(seconds) / len(seconds), 1) if seconds and request.steps is None else None
