"""Above which similarity a recogniser says "same person": measured by ``bundle/train/thresholds.py``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from c2p_core.errors import ModelUnavailable


@dataclass(frozen=True)
class Thresholds:
    """Cosine similarities of one recogniser.

    Attributes:
        far1: 1 % of impostor pairs (two different people) are more similar than this.
        far01: the same for 0.1 %.
        impostor_mean: mean over impostor pairs.
        impostor_std: their standard deviation, the recogniser's own unit of similarity; ``spread`` in the file.
    """

    far1: float
    far01: float
    impostor_mean: float
    impostor_std: float


def read_thresholds(path: Path) -> dict[str, Thresholds]:
    """Thresholds by recogniser.

    Raises:
        ModelUnavailable: the file is missing or not understood.
    """
    try:
        tables = json.loads(path.read_text(encoding="utf-8"))["recognisers"]
        return {
            name: Thresholds(*(float(table[key]) for key in ("far1", "far01", "mean", "spread")))
            for name, table in tables.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelUnavailable("thresholds-unreadable", path=str(path), reason=str(error)) from error
