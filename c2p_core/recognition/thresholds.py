"""Thresholds of recognisers: similarities above which two faces match, measured by ``bundle/train/thresholds.py``.

For a recogniser that this project has not measured, they are the user's own measurement (``c2p thresholds``) or the
vendor's default, from the manifest or from the user.
"""

from __future__ import annotations

import json
import math
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

from c2p_core.errors import Malformed, ModelUnavailable, get_reason
from c2p_core.models.manifest import Default

OWN_THRESHOLDS = "thresholds.json"
"""Name of a user's own file, in the folder of the fetched models."""
# For recognisers without measured impostor pairs: the mean of the shipped ones, which have 0.04 to 0.17.
_USUAL_IMPOSTOR_STD = 0.11


@dataclass(frozen=True)
class Thresholds:
    """Cosine similarities of one recogniser.

    Attributes:
        far1: threshold at FAR 1 %, exceeded by 1 % of impostor pairs (two different people).
        far01: threshold at FAR 0.1 %.
        impostor_mean: mean similarity of impostor pairs.
        impostor_std: standard deviation of their similarity, the unit of margins.
    """

    far1: float
    far01: float
    impostor_mean: float
    impostor_std: float


@dataclass(frozen=True)
class Limits:
    """The thresholds that a run uses for a recogniser; attributes as those of `c2p_core.recognition.Recogniser`."""

    far1: float
    far01: float
    impostor_std: float
    measured_by: Literal["project", "user", "vendor"]


def choose_limits(name: str, default: Default | None, shipped: Thresholds | None, user: Thresholds | None) -> Limits:
    """Take the project's thresholds, else the lower of the user's and the vendor's: too high ones overstate protection.

    Raises:
        ModelUnavailable: none of the three exists.
    """
    if shipped is not None:
        return Limits(shipped.far1, shipped.far01, shipped.impostor_std, "project")
    if user is not None:
        far1 = user.far1 if default is None else min(user.far1, default.threshold)
        far01 = user.far01 if default is None or default.far01 is None else min(user.far01, default.far01)
        return Limits(far1, max(far01, far1), user.impostor_std, "user")
    if default is not None:
        far01 = default.threshold if default.far01 is None else default.far01
        return Limits(default.threshold, far01, _USUAL_IMPOSTOR_STD, "vendor")
    raise ModelUnavailable("threshold-missing", name=name)


def read_thresholds(path: Path) -> dict[str, Thresholds]:
    """Read the thresholds by recogniser name.

    Raises:
        ModelUnavailable: the file is missing or invalid.
    """
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelUnavailable("thresholds-unreadable", path=str(path), reason=get_reason(error)) from error


def read_own_thresholds(root: Path) -> dict[str, Thresholds]:
    """Read the user's own thresholds by recogniser (``LoadedNetwork.key``); {} without a file.

    Args:
        root: folder of the fetched models.

    Raises:
        ModelUnavailable: the file exists but is invalid.
    """
    path = root / OWN_THRESHOLDS
    if not path.is_file():
        return {}
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelUnavailable("own-thresholds-unreadable", path=str(path), reason=get_reason(error)) from error


def _read(path: Path) -> dict[str, Thresholds]:
    tables = json.loads(path.read_text(encoding="utf-8"))["recognisers"]
    thresholds = {
        name: Thresholds(*(float(table[key]) for key in ("far1", "far01", "impostor_mean", "impostor_std")))
        for name, table in tables.items()
    }
    for name, values in thresholds.items():
        # No face would ever match a threshold that is NaN.
        if not all(map(math.isfinite, astuple(values))) or values.impostor_std < 0:
            raise Malformed("thresholds-impossible", name=name)
    return thresholds
