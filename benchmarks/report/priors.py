"""The two priors side by side, and what the paper's costs at full size."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pandas import DataFrame, concat

from benchmarks.frames import make_picture_frame, select, select_largest
from benchmarks.metrics.psr import THRESHOLDS, at_threshold, held_out_rate, white_box_rate
from benchmarks.report.tables import number, table
from benchmarks.rows import ProtectRow
from c2p_core.api import PRIORS

_FIGURES = {
    "PSNR, dB": ("psnr", 1),
    "SSIM": ("ssim", 3),
    "landmarks moved, %": ("mesh_shift", 2),
    "skin ΔE 2000": ("skin_de_mean", 2),
    "patchiness": ("patch_face", 2),
}


def write_section(
    protect: Sequence[ProtectRow], escaped: DataFrame, natural: DataFrame, method: str, strength: float
) -> str:
    """One column for each prior, over the pictures of a method and strength that all priors have, by face and family.

    Empty unless there are two.

    Args:
        escaped, natural: of these rows, see `psr.escapes` and `naturalness.make_natural_frame`.
    """
    costs = make_picture_frame(protect, "seconds", "peak_mib")
    groups = {prior: select_largest(select(costs, prior=prior), method, strength) for prior in PRIORS}
    groups = {prior: group for prior, group in groups.items() if len(group)}
    if len(groups) < 2:
        return ""
    pictures = concat(groups.values())
    shared = pictures[pictures.groupby(level=["face", "hold_out"])["seconds"].transform("size") == len(groups)]
    if shared.empty:
        return ""
    columns: dict[str, dict[str, object]] = {}
    for prior in groups:
        took = select(shared, prior=prior)
        own, means = escaped.loc[took.index], natural.reindex(took.index).mean(numeric_only=True)
        rates = {
            f"{name}, {title}": rate(at_threshold(own, title))
            for name, rate in (("held-out", held_out_rate), ("white-box", white_box_rate))
            for title in THRESHOLDS
        }
        figures = {title: number(means[figure], digits) for title, (figure, digits) in _FIGURES.items()}
        cost = {"seconds a picture": f"{took['seconds'].mean():.0f}", "peak MiB": f"{took['peak_mib'].max():.0f}"}
        columns[prior] = {"pictures": len(took), **rates, **figures, **cost}
    return table(DataFrame(columns, dtype=object).rename_axis("").reset_index())


def write_fullsize_section(path: Path) -> str:
    """Results of ``python -m benchmarks fullsize``; "" before it has run."""
    if not path.is_file():
        return ""
    found = json.loads(path.read_text(encoding="utf-8"))
    steps = (
        ("a step of tuning, s", "tuning", 2),
        ("a step of search, s", "search", 2),
        ("a face of 150 + 50 steps, s", "face", 0),
    )
    lines = [
        {"": what, "this program": number(found[name], digits), "plain loop": number(found[f"plain_{name}"], digits)}
        for what, name, digits in steps
    ]
    # Files of earlier versions lack these, and so do those of a processor.
    if found.get("gpu_mib") is not None:
        taken = {"this program": number(found["gpu_mib"], 0), "plain loop": number(found["plain_gpu_mib"], 0)}
        lines.append({"": "memory of the card at most, MiB", **taken})
    times = found["plain_face"] / found["face"]
    head = f"1024 px, random weights, four recognisers and CLIP ViT-B/32 ({found['device']}): {times:.1f} times faster."
    return f"{head}\n\n{table(lines)}"
