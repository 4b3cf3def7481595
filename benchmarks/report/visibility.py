"""Methods side by side at equal visibility: protection over the similarity of pictures to their originals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pandas import DataFrame

from benchmarks.frames import select, select_largest
from benchmarks.methods.strengths import CURVES, PRODUCT_METHOD
from benchmarks.metrics.psr import FAR1, held_out_rate, select_threshold, split_held_out_runs, white_box_rate
from benchmarks.report.tables import format_number, format_percent, format_table
from c2p_core.api import PRIORS

OURS = PRODUCT_METHOD
OTHER_PRIOR = f"{OURS} {PRIORS[1]}"

# Equal visibility by each of five measures: its title, and the levels at which methods are compared. The last two are
# of the face only; they were added because the first three rated stripes in all colours less visible than makeup.
LEVELS = {
    "ssim": ("SSIM", (0.90, 0.92, 0.94, 0.96, 0.98)),
    "psnr": ("PSNR", (26.0, 28.0, 30.0, 32.0, 34.0)),
    "flip": ("FLIP", (0.06, 0.05, 0.04, 0.03, 0.02)),
    "patch_face": ("patchiness", (6.0, 5.0, 4.0, 3.0, 2.0)),
    "skin_de_mean": ("skin ΔE 2000", (7.0, 6.0, 5.0, 4.0, 3.0)),
}
_FIGURES = {"ssim": ("SSIM", 3), "psnr": ("PSNR, dB", 1), "flip": ("FLIP", 3), "patch_face": ("patchiness", 1),
            "skin_de_mean": ("skin ΔE 2000", 1)}  # fmt: skip


def measure_curves(escaped: DataFrame, natural: DataFrame) -> DataFrame:
    """Protection and visibility of each method at each strength, over the faces that all methods were measured on.

    Methods that were not measured with all families are left out; a single method, which can't be compared, gives no
    lines. The product's other prior counts as a method, `OTHER_PRIOR`.

    Args:
        escaped, natural: see `psr.compute_escapes` and `naturalness.make_natural_frame`.

    Returns:
        One line per method and strength of `strengths.CURVES`: ``method``, ``strength``, the rates ``held_out`` and
        ``white_box`` at FAR 1 % (None without a search), the number of ``pictures``, and the means of `LEVELS` over
        them; ssim, psnr and flip are of the whole photo, the others of the face. NaN where no picture has the figure.
    """
    escaped = select_threshold(escaped, FAR1)
    chosen = {
        (method, s): select_largest(escaped, method, s) for method, strengths in CURVES.items() for s in strengths
    }
    other_prior = select(escaped, prior=PRIORS[1])
    chosen |= {(OTHER_PRIOR, s): select_largest(other_prior, OURS, s) for s in CURVES[OURS]}
    families = set(escaped.columns.unique("family"))
    chosen = {key: group for key, group in chosen.items() if len(group) and set(split_held_out_runs(group)) == families}
    if len({method for method, _ in chosen}) < 2:
        return DataFrame()
    faces = set.intersection(*(set(group.index.unique("face")) for group in chosen.values()))
    lines = []
    for (method, strength), group in chosen.items():
        shared = group[group.index.get_level_values("face").isin(faces)]
        shared_natural = natural.loc[natural.index.intersection(shared.index)]
        if shared.empty or shared_natural.empty:
            continue
        lines.append(
            {"method": method, "strength": strength, "pictures": len(shared_natural)}
            | {"held_out": held_out_rate(shared), "white_box": white_box_rate(shared)}
            | shared_natural[list(LEVELS)].mean().to_dict()
        )
    return DataFrame(lines)


def group_curves(curves: DataFrame) -> dict[str, DataFrame]:
    """Each method's lines, in the order of the methods."""
    return dict(iter(curves.groupby("method", sort=False))) if len(curves) else {}


def interpolate_protection(curve: DataFrame, figure: str, value: float) -> float | None:
    """Protection of one method at a given visibility, interpolated linearly between its points.

    None outside the range of visibility in which the method was measured.
    """
    points = curve[curve[figure].notna()].sort_values(figure)
    x, y = points[figure].to_numpy(float), [rate.value for rate in points["held_out"]]
    return float(np.interp(value, x, y)) if len(x) and x[0] <= value <= x[-1] else None


def write_section(curves: DataFrame) -> str:
    """Tables: every point, and all methods at equal visibility."""
    if curves.empty:
        return "Not measured yet: `python -m benchmarks run`."
    points = [
        {
            "method": p["method"],
            "strength": f"{p['strength']:g}",
            "held-out": p["held_out"],
            "white-box": p["white_box"],
            **{title: format_number(p[name], digits) for name, (title, digits) in _FIGURES.items()},
            "pictures": p["pictures"],
        }
        for p in curves.to_dict("records")
    ]
    faces = curves["held_out"].iloc[0].count
    parts = [f"Faces that all of these were measured on: {faces}. FAR 1 %.", format_table(points)]
    for figure, (title, levels) in LEVELS.items():
        parts.append(f"Held-out protection at equal {title} (a dash: not measured at this visibility):")
        parts.append(
            format_table(
                {"method": method}
                | {f"{level:g}": format_percent(interpolate_protection(curve, figure, level)) for level in levels}
                for method, curve in group_curves(curves).items()
            )
        )
    return "\n\n".join(parts)


def count_wins(curves: DataFrame, figure: str) -> tuple[int, int]:
    """Count the `LEVELS` of a figure at which our best prior protects more than every other method, and was measured.

    Methods that were not measured at a level are ignored there.
    """
    by_method = group_curves(curves)
    wins = measured = 0
    for level in LEVELS[figure][1]:
        rates = {method: interpolate_protection(curve, figure, level) for method, curve in by_method.items()}
        ours, others = _split(rates)
        measured += bool(ours)
        wins += bool(ours) and all(max(ours) > other for other in others)
    return wins, measured


def _split(rates: Mapping[str, float | None]) -> tuple[list[float], list[float]]:
    """Split known rates into those of the product and those of the other methods."""
    ours = [rate for method, rate in rates.items() if rate is not None and method in (OURS, OTHER_PRIOR)]
    return ours, [rate for method, rate in rates.items() if rate is not None and method not in (OURS, OTHER_PRIOR)]
