"""Markdown tables from frames and lines; unknown values are a dash."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd
from pandas import DataFrame

from benchmarks.frames import VARIANT

NOTHING = "–"


def format_number(value: float | None, digits: int) -> str:
    """Format a figure; a dash for None and NaN."""
    return NOTHING if value is None or pd.isna(value) else f"{value:.{digits}f}"


def format_percent(value: float | None) -> str:
    """Format 0..1 as per cent; a dash for None and NaN."""
    return NOTHING if value is None or pd.isna(value) else f"{100 * value:.0f} %"


def format_thresholds(score: Mapping[str, float] | pd.Series) -> str:
    """Format both thresholds of a recogniser."""
    return f"{score['far1']:.3f} / {score['far01']:.3f}"


def title_variant(key: tuple[str, float]) -> dict[str, object]:
    """The first cells of a line about a variant at one strength."""
    return {"method": key[0], "strength": f"{key[1]:g}"}


def group_variants(frame: DataFrame) -> dict[tuple[str, float], DataFrame]:
    """Lines by variant and strength, in order."""
    return dict(iter(frame.groupby(level=VARIANT)))


def format_table(lines: Iterable[Mapping[str, object]] | DataFrame) -> str:
    """A Markdown table of lines, each with its cells by heading; "" without lines."""
    frame = lines if isinstance(lines, DataFrame) else DataFrame(list(lines))
    if frame.empty:
        return ""
    cells = frame.astype(object).where(frame.notna(), NOTHING).map(str)
    return str(cells.to_markdown(index=False, tablefmt="github", stralign=None, numalign=None, disable_numparse=True))
