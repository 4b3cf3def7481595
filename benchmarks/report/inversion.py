"""The report's section on how well the prior ``stylegan2`` reproduces faces."""

from __future__ import annotations

from collections.abc import Sequence

from pandas import DataFrame

from benchmarks.report.tables import number, table
from benchmarks.rows import InversionRow

# Title, and dB that the mean and the worst face should reach.
_TARGETS = {"encoder": ("encoder alone, dB", "≥ 19"), "tuned": ("after tuning, dB", "≥ 28, worst ≥ 25")}


def write_section(rows: Sequence[InversionRow]) -> str:
    """Means and worst faces beside their aims; empty without rows."""
    if not rows:
        return ""
    found = DataFrame(map(vars, rows))
    lines = [
        {"": title, "aim": aim, "mean": number(found[name].mean(), 2), "worst face": number(found[name].min(), 2)}
        for name, (title, aim) in _TARGETS.items()
    ]
    codes = ", ".join(sorted(set(found["code"])))
    seconds = number(found["seconds"].mean(), 0)
    head = f"{len(found)} faces, PSNR inside the aligned crop; {seconds} s a face in these runs. Code {codes}."
    return f"{head}\n\n{table(lines)}"
