"""Thresholds of recognisers: the similarity above which two faces match; measured by ``bundle/train/thresholds.py``.

For a recogniser that this project has not measured, the user's own measurement counts (``c2p thresholds``), or its
maker's default from the manifest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from c2p_core.errors import ModelUnavailable
from c2p_core.models.manifest import ModelEntry

OWN_THRESHOLDS = "thresholds.json"
"""Name of a user's own file, in the folder of the fetched models."""
# Where impostor pairs were not measured: the mean of the recognisers that ship, 0.04 to 0.17.
_USUAL_IMPOSTOR_STD = 0.11


@dataclass(frozen=True)
class Thresholds:
    """Cosine similarities of one recogniser.

    Attributes:
        far1: threshold at FAR 1 %: so many impostor pairs (two different people) are more similar than this.
        far01: threshold at FAR 0.1 %.
        impostor_mean: mean similarity of impostor pairs.
        impostor_std: its standard deviation, the unit of margins; ``spread`` in the file.
    """

    far1: float
    far01: float
    impostor_mean: float
    impostor_std: float


@dataclass(frozen=True)
class Limits:
    """What a run takes a recogniser's thresholds to be; attributes as those of `c2p_core.recognition.Recogniser`."""

    far1: float
    far01: float
    impostor_std: float
    measured_by: Literal["project", "user", "vendor"]


def choose_limits(entry: ModelEntry, shipped: Thresholds | None, own: Thresholds | None) -> Limits:
    """The project's thresholds, else the lower of the user's and the maker's: too high ones would flatter.

    Raises:
        ModelUnavailable: there is none of the three.
    """
    if shipped is not None:
        return Limits(shipped.far1, shipped.far01, shipped.impostor_std, "project")
    default = None if entry.default is None else entry.default.threshold
    if own is not None:
        far1 = own.far1 if default is None else min(own.far1, default)
        return Limits(far1, max(own.far01, far1), own.impostor_std, "user")
    if default is not None:
        return Limits(default, default, _USUAL_IMPOSTOR_STD, "vendor")
    raise ModelUnavailable("threshold-missing", name=entry.name)


def read_thresholds(path: Path) -> dict[str, Thresholds]:
    """Read the thresholds by recogniser name.

    Raises:
        ModelUnavailable: the file is missing or invalid.
    """
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelUnavailable("thresholds-unreadable", path=str(path), reason=str(error)) from error


def read_own_thresholds(root: Path) -> dict[str, Thresholds]:
    """What the user measured, by recogniser; often nothing.

    Args:
        root: folder of the fetched models.

    Raises:
        ModelUnavailable: the file is there and not understood.
    """
    path = root / OWN_THRESHOLDS
    if not path.is_file():
        return {}
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelUnavailable("own-thresholds-unreadable", path=str(path), reason=str(error)) from error


def _read(path: Path) -> dict[str, Thresholds]:
    tables = json.loads(path.read_text(encoding="utf-8"))["recognisers"]
    return {
        name: Thresholds(*(float(table[key]) for key in ("far1", "far01", "mean", "spread")))
        for name, table in tables.items()
    }
