"""The report's section on how well the prior ``stylegan2`` reproduces faces."""

from __future__ import annotations

from collections.abc import Sequence

from pandas import DataFrame

from benchmarks.report.tables import format_number, format_table
from benchmarks.rows import InversionRow

# Title, and dB that the mean and the worst face should reach.
_TARGETS = {"encoder": ("encoder alone, dB", "≥ 19"), "tuned": ("after tuning, dB", "≥ 28, worst ≥ 25")}


def write_section(rows: Sequence[InversionRow]) -> str:
    """Means and worst faces beside their aims; empty without rows."""
    if not rows:
        return ""
    frame = DataFrame(map(vars, rows))
    lines = [
        {
            "": title,
            "aim": aim,
            "mean": format_number(frame[name].mean(), 2),
            "worst face": format_number(frame[name].min(), 2),
        }
        for name, (title, aim) in _TARGETS.items()
    ]
    codes = ", ".join(sorted(set(frame["code"])))
    seconds = format_number(frame["seconds"].mean(), 0)
    head = f"{len(frame)} faces, PSNR inside the aligned crop; {seconds} s a face in these runs. Code {codes}."
    return f"{head}\n\n{format_table(lines)}"
