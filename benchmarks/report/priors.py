"""The two priors side by side, and the cost of the paper's prior at full size."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pandas import DataFrame, concat

from benchmarks.frames import make_picture_frame, select, select_largest
from benchmarks.metrics.psr import THRESHOLDS, held_out_rate, select_threshold, white_box_rate
from benchmarks.report.tables import format_number, format_table
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
    """One column for each prior, over the faces and families for which all priors have a picture.

    Empty unless there are two.

    Args:
        escaped, natural: of these rows, see `psr.compute_escapes` and `naturalness.make_natural_frame`.
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
        prior_costs = select(shared, prior=prior)
        prior_escapes, means = (
            escaped.loc[prior_costs.index],
            natural.reindex(prior_costs.index).mean(numeric_only=True),
        )
        rates = {
            f"{name}, {title}": rate(select_threshold(prior_escapes, title))
            for name, rate in (("held-out", held_out_rate), ("white-box", white_box_rate))
            for title in THRESHOLDS
        }
        figures = {title: format_number(means[figure], digits) for title, (figure, digits) in _FIGURES.items()}
        cost = {
            "seconds a picture": f"{prior_costs['seconds'].mean():.0f}",
            "peak MiB": f"{prior_costs['peak_mib'].max():.0f}",
        }
        columns[prior] = {"pictures": len(prior_costs), **rates, **figures, **cost}
    return format_table(DataFrame(columns, dtype=object).rename_axis("").reset_index())


def write_fullsize_section(path: Path) -> str:
    """Results of ``python -m benchmarks fullsize``; "" before it has run."""
    if not path.is_file():
        return ""
    speed = json.loads(path.read_text(encoding="utf-8"))
    steps = (
        ("a step of tuning, s", "tuning", 2),
        ("a step of search, s", "search", 2),
        ("a face of 150 + 50 steps, s", "face", 0),
    )
    lines = [
        {
            "": label,
            "this program": format_number(speed[name], digits),
            "plain loop": format_number(speed[f"plain_{name}"], digits),
        }
        for label, name, digits in steps
    ]
    # Files of earlier versions and of runs on a CPU lack these.
    if speed.get("gpu_mib") is not None:
        memory = {
            "this program": format_number(speed["gpu_mib"], 0),
            "plain loop": format_number(speed["plain_gpu_mib"], 0),
        }
        lines.append({"": "memory of the card at most, MiB", **memory})
    times = speed["plain_face"] / speed["face"]
    head = f"1024 px, random weights, four recognisers and CLIP ViT-B/32 ({speed['device']}): {times:.1f} times faster."
    return f"{head}\n\n{format_table(lines)}"
