"""The two priors side by side, and what the paper's costs at full size."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from benchmarks.rates import THRESHOLDS, Names, held_out_rate, white_box_rate
from benchmarks.rows import NaturalRow, ProtectRow
from benchmarks.tables import Key, mean, number, table

FULLSIZE_FILE = "fullsize.json"

_FIGURES = {
    "PSNR, dB": ("psnr", 1),
    "SSIM": ("ssim", 3),
    "landmarks moved, %": ("mesh_shift", 2),
    "skin ΔE 2000": ("skin_de_mean", 2),
    "patchiness": ("patch_face", 2),
}


def section(
    protect: dict[Key, list[ProtectRow]], natural: dict[Key, list[NaturalRow]], names: Names, key: tuple[str, float]
) -> str:
    """One column for each prior, over the pictures of a (method, strength) that all priors have, by face and family.

    Empty unless there are two.
    """
    method, strength = key
    columns: dict[str, tuple[Sequence[ProtectRow], Sequence[NaturalRow]]] = {}
    for variant, group in protect.items():
        prior = group[0].setting.prior
        if group[0].setting.method != method or variant[1] != strength:
            continue
        # Of several prompts and budgets the one with the most pictures is the usual one.
        if prior not in columns or len(group) > len(columns[prior][0]):
            columns[prior] = group, natural.get(variant, [])
    if len(columns) < 2:
        return ""
    shared = set.intersection(*({_task(row) for row in group} for group, _ in columns.values()))
    if not shared:
        return ""
    columns = {
        prior: ([r for r in group if _task(r) in shared], [r for r in looks if _task(r) in shared])
        for prior, (group, looks) in columns.items()
    }
    lines: list[list[object]] = [["pictures", *(len(group) for group, _ in columns.values())]]
    for name, rate in (("held-out", held_out_rate), ("white-box", white_box_rate)):
        for title, threshold in THRESHOLDS.items():
            lines.append([f"{name}, {title}", *(rate(group, names, threshold) or "–" for group, _ in columns.values())])
    for title, (figure, digits) in _FIGURES.items():
        means = [number(mean(getattr(row, figure) for row in looks), digits) for _, looks in columns.values()]
        lines.append([title, *means])
    lines.append(["seconds a picture", *(f"{fmean(r.seconds for r in group):.0f}" for group, _ in columns.values())])
    lines.append(["peak MiB", *(f"{max(r.peak_mib for r in group):.0f}" for group, _ in columns.values())])
    return table(["", *columns], lines)


def _task(row: ProtectRow | NaturalRow) -> tuple[str, str]:
    return row.setting.face, row.setting.hold_out


def fullsize_section(path: Path) -> str:
    """What ``python -m benchmarks fullsize`` found; empty before it ran."""
    if not path.is_file():
        return ""
    found = json.loads(path.read_text(encoding="utf-8"))
    lines = [
        [what, *(f"{found[prefix + name]:.{digits}f}" for prefix in ("", "plain_"))]
        for what, name, digits in (
            ("a step of tuning, s", "tuning", 2),
            ("a step of search, s", "search", 2),
            ("a face of 150 + 50 steps, s", "face", 0),
        )
    ]
    times = found["plain_face"] / found["face"]
    head = f"1024 px, random weights, four recognisers and CLIP ViT-B/32 ({found['device']}): {times:.1f} times faster."
    return f"{head}\n\n" + table(["", "this program", "plain loop"], lines)
