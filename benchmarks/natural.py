"""The report's figures of naturalness."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from benchmarks.rows import NaturalRow
from benchmarks.tables import Key, mean, number, table

NATURAL_COLUMNS: dict[str, tuple[str, int]] = {
    "psnr": ("PSNR, dB", 1),
    "ssim": ("SSIM", 3),
    "mesh_shift": ("landmarks moved, %", 2),
    "eye_shift": ("eye landmarks, %", 2),
    "flow_shift": ("moved by optical flow, %", 2),
    "flow_eye_shift": ("eyes by optical flow, %", 2),
    "skin_de_mean": ("skin ΔE 2000 mean", 2),
    "skin_de_p95": ("skin ΔE 2000 95th percentile", 2),
    "patch_face": ("patchiness face", 2),
    "patch_skin": ("patchiness skin", 2),
    "patch_face_raw": ("unregistered face", 2),
    "patch_skin_raw": ("unregistered skin", 2),
    "ms_ssim": ("MS-SSIM", 3),
    "flip": ("FLIP", 3),
    "psnr_face": ("PSNR of the face, dB", 1),
    "ssim_face": ("SSIM of the face", 3),
    "ms_ssim_face": ("MS-SSIM of the face", 3),
    "flip_face": ("FLIP of the face", 3),
    "box_overlap": ("overlap of the face boxes", 3),
}
# With their 95th percentile beside the mean: a mood is lost in single faces.
FORM_COLUMNS: dict[str, str] = {
    "expression": "expression, %",
    "expression_worst": "its worst measure, %",
    "landmark_shift": "landmarks on the eye line, %",
    "nose_width": "nose width, %",
}

NaturalGroups = Mapping[Key, Sequence[NaturalRow]]


def natural_mean(group: Iterable[NaturalRow], figure: str) -> float | None:
    """Mean of one figure over all pictures of a group that have it."""
    return mean(getattr(row, figure) for row in group)


def late(group: Iterable[NaturalRow], figure: str) -> float | None:
    """The 95th percentile over pictures; of the expression, over all measures of all pictures."""
    if figure == "expression":
        values = [change for row in group for change in row.expression_changes or ()]
    else:
        values = [value for row in group if (value := getattr(row, figure)) is not None]
    return float(np.quantile(values, 0.95)) if values else None


def expression_figures(group: Sequence[NaturalRow]) -> str:
    """Mean and 95th percentile of the expression; "" where no row has it."""
    mean_shift, late_shift = natural_mean(group, "expression"), late(group, "expression")
    return "" if late_shift is None else f"{number(mean_shift, 2)} and {number(late_shift, 2)}"


def natural_table(groups: NaturalGroups) -> str:
    """Means of all figures, a line for each method and strength."""
    lines = []
    for (variant, strength), group in groups.items():
        means = [number(natural_mean(group, name), digits) for name, (_, digits) in NATURAL_COLUMNS.items()]
        lines.append([variant, f"{strength:g}", len(group), *means])
    return table(["method", "strength", "pictures", *(title for title, _ in NATURAL_COLUMNS.values())], lines)


def form_table(groups: NaturalGroups) -> str:
    """Mean and 95th percentile of what moved in faces; "" where no row has it."""
    lines = []
    for (variant, strength), group in groups.items():
        known = [row for row in group if row.expression_changes is not None]
        if known:
            figures = [f"{number(natural_mean(known, n), 2)} / {number(late(known, n), 2)}" for n in FORM_COLUMNS]
            lines.append([variant, f"{strength:g}", len(known), *figures])
    return table(["method", "strength", "pictures", *FORM_COLUMNS.values()], lines) if lines else ""
