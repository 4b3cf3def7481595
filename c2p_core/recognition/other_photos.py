"""What protected photos lost beside other photos of the person: measured by ``bundle/train/other_photos.py``.

A run can compare a protected face with its own photo alone. Whoever searches for the person has other photos; what
these still match was measured once, over the similarity that the protected photos kept to their own originals.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from c2p_core.api import ProtectRequest, Stronger
from c2p_core.errors import ModelUnavailable

LOST_SHARE = 0.8
"""Of the matches with other photos: from here on they count as lost. Texts say "four of five"."""

# How far above the strength of a run the strength lies that it is compared with, where so much was measured.
_STEP = 0.25


@dataclass(frozen=True)
class OtherPhotos:
    """What was measured.

    Attributes:
        prior: name of the prior that protected the photos.
        up_to: by recogniser, `c2p_core.api.Similarity.other_photos_up_to`.
        strengths: strengths of a run in ascending order, each with the share 0..1 of matches with other photos that
            recognisers lost which the search never asked, on the same photos.
    """

    prior: str
    up_to: dict[str, float]
    strengths: tuple[tuple[float, float], ...]


def read_other_photos(path: Path) -> OtherPhotos:
    """What the file holds.

    Raises:
        ModelUnavailable: it is missing or not understood.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return OtherPhotos(
            str(table["prior"]),
            {name: float(entry["up_to"]) for name, entry in table["recognisers"].items()},
            tuple(sorted((float(entry["strength"]), float(entry["held_out"])) for entry in table["strengths"])),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelUnavailable(
            f"The figures of other photos in {path} can't be read ({error}); install the program again."
        ) from error


def find_stronger(measured: OtherPhotos, request: ProtectRequest) -> Stronger | None:
    """What more strength than a run's brought; None where that is not known.

    It is not known of a run unlike those that were measured, nor beyond the strengths that were.
    """
    usual = request.mode == "dodge" and request.steps is None and request.keep_expression
    usual = usual and request.recognisers == request.hold_out == "auto"
    if not usual or request.prior != measured.prior or request.original is not None or not measured.strengths:
        return None
    highest = measured.strengths[-1][0]
    higher = round(min(request.strength + _STEP, highest), 4)
    if not measured.strengths[0][0] <= request.strength < higher:
        return None
    lost, more = (_between(measured.strengths, strength) for strength in (request.strength, higher))
    return Stronger(request.strength, round(lost, 4), higher, round(more, 4))


def _between(known: tuple[tuple[float, float], ...], strength: float) -> float:
    """The share lost at a strength among the known ones, on the straight line between its neighbours."""
    below = max(point for point in known if point[0] <= strength)
    above = min(point for point in known if point[0] >= strength)
    if below[0] == above[0]:
        return below[1]
    return below[1] + (strength - below[0]) / (above[0] - below[0]) * (above[1] - below[1])
