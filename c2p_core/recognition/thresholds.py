"""Thresholds of recognisers: the similarity above which two faces match; measured by ``bundle/train/thresholds.py``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from c2p_core.errors import ModelUnavailable


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


def read_thresholds(path: Path) -> dict[str, Thresholds]:
    """Read the thresholds by recogniser name.

    Raises:
        ModelUnavailable: the file is missing or invalid.
    """
    try:
        tables = json.loads(path.read_text(encoding="utf-8"))["recognisers"]
        return {
            name: Thresholds(*(float(table[key]) for key in ("far1", "far01", "mean", "spread")))
            for name, table in tables.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelUnavailable(
            f"The thresholds in {path} can't be read ({error}); install the program again."
        ) from error
