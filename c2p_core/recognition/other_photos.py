"""How protection affects matches with other photos of the person, as measured by ``bundle/train/other_photos.py``.

A run can compare a protected face only with its own photo, but somebody searching for the person has other photos.
How many matches with those are lost was measured in advance, as a function of the similarity to the own photo.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from c2p_core.api import ProtectRequest, Stronger
from c2p_core.errors import ModelUnavailable, get_reason

LOST_SHARE = 0.8
"""Share of lost matches from which other photos count as lost; "four of five" in texts."""

# How much higher the strength is to which a run's strength is compared, if measurements reach that far.
_STEP = 0.25


@dataclass(frozen=True)
class OtherPhotos:
    """The measurements.

    Attributes:
        prior: name of the prior that protected the photos.
        up_to: `c2p_core.api.Similarity.other_photos_up_to`, by recogniser.
        strengths: strengths in ascending order, each with the share 0..1 of matches with other photos that held-out
            recognisers lost; the photos are the same for all strengths.
    """

    prior: str
    up_to: dict[str, float]
    strengths: tuple[tuple[float, float], ...]


def read_other_photos(path: Path) -> OtherPhotos:
    """Read the measurements.

    Raises:
        ModelUnavailable: the file is missing or invalid.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return OtherPhotos(
            str(table["prior"]),
            {name: float(entry["up_to"]) for name, entry in table["recognisers"].items()},
            tuple(sorted((float(entry["strength"]), float(entry["held_out"])) for entry in table["strengths"])),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelUnavailable("other-photos-unreadable", path=str(path), reason=get_reason(error)) from error


def find_stronger(measured: OtherPhotos, request: ProtectRequest, usual_recognisers: bool = True) -> Stronger | None:
    """Look up what a higher strength than the request's achieved.

    None for requests with other settings than those measured, and outside the range of strengths measured.

    Args:
        measured: see ``read_other_photos``.
        request: of the run.
        usual_recognisers: whether the run used only recognisers that ship with the program.
    """
    comparable = request.mode == "dodge" and request.steps is None and request.keep_expression and not request.locks
    comparable = comparable and not any(
        look.strength is not None or look.locks or look.earlier for look in request.looks
    )
    comparable = comparable and usual_recognisers and request.recognisers == request.hold_out == "auto"
    if not comparable or request.prior != measured.prior or request.original is not None or not measured.strengths:
        return None
    highest = measured.strengths[-1][0]
    higher = round(min(request.strength + _STEP, highest), 4)
    if not measured.strengths[0][0] <= request.strength < higher:
        return None
    lost, higher_lost = (_interpolate(measured.strengths, strength) for strength in (request.strength, higher))
    return Stronger(request.strength, round(lost, 4), higher, round(higher_lost, 4))


def _interpolate(known: tuple[tuple[float, float], ...], strength: float) -> float:
    """The share lost at a strength, interpolated linearly between the measured ones."""
    below = max(point for point in known if point[0] <= strength)
    above = min(point for point in known if point[0] >= strength)
    if below[0] == above[0]:
        return below[1]
    return below[1] + (strength - below[0]) / (above[0] - below[0]) * (above[1] - below[1])
