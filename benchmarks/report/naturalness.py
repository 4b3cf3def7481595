"""The report's figures of naturalness."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from pandas import DataFrame

from benchmarks.frames import make_picture_frame
from benchmarks.report.tables import format_number, format_table, group_variants, title_variant
from benchmarks.rows import NaturalRow

# Title and digits.
FIGURES: dict[str, tuple[str, int]] = {
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
# With the 95th percentile beside the mean: an expression may be lost in single faces only.
FORM_FIGURES: dict[str, str] = {
    "expression": "expression, %",
    "expression_worst": "its worst measure, %",
    "landmark_shift": "landmarks on the eye line, %",
    "nose_width": "nose width, %",
}


def make_natural_frame(rows: Iterable[NaturalRow]) -> DataFrame:
    """One line per picture: `FIGURES`, `FORM_FIGURES` and ``expression_changes``."""
    changes, shifts = "expression_changes", ["landmark_shift", "nose_width"]
    frame = make_picture_frame(rows, *FIGURES, *shifts, changes).astype(dict.fromkeys([*FIGURES, *shifts], float))
    return frame.assign(
        expression=frame[changes].map(np.mean, na_action="ignore").astype(float),
        expression_worst=frame[changes].map(max, na_action="ignore").astype(float),
    )


def percentile_95(group: DataFrame, figure: str) -> float:
    """The 95th percentile over pictures; of the expression, over all measures of all pictures. NaN of none."""
    values = group["expression_changes"].explode().astype(float) if figure == "expression" else group[figure]
    return float(values.quantile(0.95))


def format_expression(group: DataFrame) -> str:
    """Mean and 95th percentile of the expression; "" where no picture has it."""
    is_measured = group["expression"].notna().any()
    return f"{group['expression'].mean():.2f} and {percentile_95(group, 'expression'):.2f}" if is_measured else ""


def write_natural_table(natural: DataFrame) -> str:
    """Means of all figures, a line for each method and strength."""
    return format_table(
        title_variant(key)
        | {"pictures": len(group)}
        | {title: format_number(group[figure].mean(), digits) for figure, (title, digits) in FIGURES.items()}
        for key, group in group_variants(natural).items()
    )


def write_form_table(natural: DataFrame) -> str:
    """Mean and 95th percentile of what moved in faces; "" where no picture has it."""
    return format_table(
        title_variant(key)
        | {"pictures": len(group)}
        | {
            title: f"{format_number(group[name].mean(), 2)} / {format_number(percentile_95(group, name), 2)}"
            for name, title in FORM_FIGURES.items()
        }
        for key, group in group_variants(natural[natural["expression"].notna()]).items()
    )
