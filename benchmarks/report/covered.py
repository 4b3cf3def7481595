"""The report's section on faces with something before them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pandas import DataFrame

from benchmarks.report.tables import format_number, format_table
from benchmarks.rows import CoveredRow

_MEASURED = ("found", "painted", "unmasked", "touched", "similarity", "similarity_unmasked")
_FALSE_ALARM = 0.0  # a cover on a larger share of an uncovered face is a false alarm


def write_section(rows: Sequence[CoveredRow]) -> str:
    """Shares found and painted by kind of cover, faces skipped, and how often a cover was found on uncovered faces."""
    if not rows:
        return ""
    frame = DataFrame(map(vars, rows)).astype(dict.fromkeys(_MEASURED, float))
    covered, uncovered = frame[frame["found"].notna()], frame[frame["kind"] == "nothing"]
    lines = [_summarise(kind, group) for kind, group in covered.groupby("kind", sort=False)]
    parts = [format_table([*lines, _summarise("all", covered)])] if lines else []
    if len(uncovered):
        false_alarms = uncovered[uncovered["invented"] > _FALSE_ALARM]
        sentence = f"Of {len(uncovered)} faces with nothing before them something was found on {len(false_alarms)}"
        parts.append(
            sentence
            + (f": {', '.join(label or 'no label' for label in false_alarms['label'])}." if len(false_alarms) else ".")
        )
        if len(false_alarms):
            similarity, similarity_unmasked = (
                format_number(float(false_alarms[name].mean()), 2) for name in _MEASURED[-2:]
            )
            parts.append(
                f"These are protected to a similarity of {similarity} to the original, {similarity_unmasked} if nothing"
                " looked for covers; the others are protected as if nothing did."
            )
    codes = ", ".join(sorted(set(frame["code"])))
    return "\n\n".join([*parts, f"Code {codes}."])


def _summarise(kind: object, group: DataFrame) -> dict[str, object]:
    protected = group[group["skipped"] == ""]

    def format_share(name: str, statistic: str = "mean") -> str:
        values = group[name] if name in ("covered", "found", "invented") else protected[name]
        return format_number(100 * float(getattr(values, statistic)()) if values.notna().any() else np.nan, 1)

    return {
        "before the face": kind,
        "faces": len(group),
        "of the face covered, %": format_share("covered"),
        "of the cover found, %": format_share("found"),
        "of the rest taken for it, %": format_share("invented"),
        "painted pixels on it, %": format_share("painted"),
        "worst": format_share("painted", "max"),
        "if not looked for": format_share("unmasked"),
        "skipped": len(group) - len(protected),
    }
