"""The report's section on faces with something before them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pandas import DataFrame

from benchmarks.report.tables import number, table
from benchmarks.rows import CoveredRow

_MEASURED = ("found", "painted", "unmasked", "touched", "similarity", "similarity_unmasked")
_WRONG = 0.0  # share of an uncovered face from which on something was found where there is nothing


def write_section(rows: Sequence[CoveredRow]) -> str:
    """What was found, painted and skipped by kind of cover, and how often something was found on uncovered faces."""
    if not rows:
        return ""
    found = DataFrame(map(vars, rows)).astype(dict.fromkeys(_MEASURED, float))
    covered, bare = found[found["found"].notna()], found[found["kind"] == "nothing"]
    lines = [_summarise(kind, group) for kind, group in covered.groupby("kind", sort=False)]
    parts = [table([*lines, _summarise("all", covered)])] if lines else []
    if len(bare):
        wrong = bare[bare["invented"] > _WRONG]
        sentence = f"Of {len(bare)} faces with nothing before them something was found on {len(wrong)}"
        parts.append(
            sentence + (f": {', '.join(label or 'no label' for label in wrong['label'])}." if len(wrong) else ".")
        )
        if len(wrong):
            with_it, without = (number(float(wrong[name].mean()), 2) for name in _MEASURED[-2:])
            parts.append(
                f"These are protected to a similarity of {with_it} to the original, {without} if nothing looked for "
                "covers; the others are protected as if nothing did."
            )
    codes = ", ".join(sorted(set(found["code"])))
    return "\n\n".join([*parts, f"Code {codes}."])


def _summarise(kind: object, group: DataFrame) -> dict[str, object]:
    protected = group[group["skipped"] == ""]

    def percent(name: str, how: str = "mean") -> str:
        values = group[name] if name in ("covered", "found", "invented") else protected[name]
        return number(100 * float(getattr(values, how)()) if values.notna().any() else np.nan, 1)

    return {
        "before the face": kind,
        "faces": len(group),
        "of the face covered, %": percent("covered"),
        "of the cover found, %": percent("found"),
        "of the rest taken for it, %": percent("invented"),
        "painted pixels on it, %": percent("painted"),
        "worst": percent("painted", "max"),
        "if not looked for": percent("unmasked"),
        "skipped": len(group) - len(protected),
    }
