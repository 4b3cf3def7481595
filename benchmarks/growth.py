"""How cost grows: the report's section on seconds and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.cost import FACES_MEGAPIXELS, STEPS
from benchmarks.rows import CostRow
from benchmarks.tables import number, table
from c2p_core.api import PRIORS

Target = tuple[str, str, str]


@dataclass(frozen=True)
class Line:
    """Seconds over faces a photo: a straight line, and the share of the variance that it explains."""

    fixed: float
    per_face: float
    explained: float


def over_faces(costs: Sequence[CostRow]) -> list[CostRow]:
    """Rows that differ in faces a photo alone, few first."""
    found = [c for c in costs if c.limit == STEPS and round(c.megapixels) == FACES_MEGAPIXELS]
    return sorted(found, key=lambda c: c.faces)


def _whole(costs: Sequence[CostRow], prior: str) -> list[CostRow]:
    """Rows of the whole search with a prior, small photos first."""
    return sorted((c for c in costs if c.limit is None and c.prior == prior), key=lambda c: c.megapixels)


def over_megapixels(costs: Sequence[CostRow]) -> list[CostRow]:
    """Rows that differ in megapixels alone, small first."""
    return sorted((c for c in costs if c.limit == STEPS and c.portraits == 1), key=lambda c: c.megapixels)


def line(costs: Sequence[CostRow]) -> Line | None:
    """Least squares through seconds over faces; None below three rows."""
    found = over_faces(costs)
    if len(found) < 3:
        return None
    faces, seconds = np.array([c.faces for c in found]), np.array([c.seconds for c in found])
    slope, start = np.polyfit(faces, seconds, 1)
    left = seconds - (start + slope * faces)
    return Line(float(start), float(slope), 1.0 - float((left**2).sum() / ((seconds - seconds.mean()) ** 2).sum()))


def _outside_search(cost: CostRow) -> float:
    return sum(seconds for stage, seconds in cost.stages.items() if stage not in ("load", "search"))


def targets(costs: Sequence[CostRow]) -> list[Target]:
    """Lines for the table of targets: figure, target, measured."""
    lines: list[Target] = []
    for prior, seconds, peak in zip(PRIORS, (25, 90), (2048, 2560), strict=True):
        for c in _whole(costs, prior)[:1]:
            lines.append((f"seconds a face, {prior}, models loaded", f"≤ {seconds}", f"{c.seconds:.1f}"))
            lines.append((f"peak memory, {prior}", f"≤ {peak} MiB", f"{c.peak_mib:.0f} MiB"))
        whole = {round(c.megapixels): c.seconds for c in _whole(costs, prior)}
        if {1, 24} <= set(whole):
            what = f"seconds a face at 24 megapixels over those at 1, {prior}"
            lines.append((what, "1, that is flat", f"{whole[24] / whole[1]:.2f}"))
    checks = [c for c in costs if c.check is not None]
    if checks:
        slowest = max(checks, key=lambda c: c.check or 0.0)
        what = f"seconds for `c2p check --survival`, one face, {slowest.megapixels:.0f} megapixels, models loaded"
        lines.append((what, "≤ 20", number(slowest.check, 1)))
    sizes = {round(c.megapixels): c for c in _whole(costs, PRIORS[0])}
    if {1, 24} <= set(sizes):
        small, large = sizes[1], sizes[24]
        added = _outside_search(large) - _outside_search(small)
        lines.append(("24 megapixels add, seconds (outside the search)", "≤ 3", f"{added:.1f}"))
        lines.append(("24 megapixels add, memory", "≤ 1024 MiB", f"{large.peak_mib - small.peak_mib:.0f} MiB"))
    return lines


def section(costs: Sequence[CostRow]) -> str:
    """Tables over faces and over megapixels, and the straight line through the first."""
    if not costs:
        return "Not measured yet: `python -m benchmarks run --suite speed`, with nothing else running."
    codes = ", ".join(sorted({c.code for c in costs}))
    parts = [f"Strength {costs[-1].strength:g}, code {codes}; each row a fresh process, its models loaded before."]
    for title, found in (
        *((f"The whole search of one face, prior {prior}", _whole(costs, prior)) for prior in PRIORS),
        (f"Faces a photo, {FACES_MEGAPIXELS:g} megapixels, {STEPS} steps a face", over_faces(costs)),
        (f"Megapixels, one face, {STEPS} steps", over_megapixels(costs)),
    ):
        if found:
            parts.append(f"{title}:\n\n{_table(found)}")
    fit = line(costs)
    if fit is not None:
        parts.append(
            f"Straight line over faces: {fit.fixed:.1f} s and {fit.per_face:.1f} s a face"
            f" ({100 * fit.explained:.1f} % of the variance)."
        )
    return "\n\n".join(parts)


def _table(costs: Sequence[CostRow]) -> str:
    stages = list(dict.fromkeys(stage for c in costs for stage in c.stages if stage not in ("load", "start")))
    lines = []
    for c in costs:
        search = c.stages.get("search", 0.0)
        speed = f"{c.steps / search:.1f}" if search else "–"
        seconds = [f"{c.stages.get(stage, 0.0):.1f}" for stage in stages]
        lines.append([c.faces, f"{c.megapixels:.0f}", f"{c.seconds:.1f}", f"{c.seconds / max(1, c.faces):.1f}",
                      *seconds, c.steps, speed, f"{c.files:.1f}", f"{c.loaded_mib:.0f}",
                      f"{c.peak_mib:.0f}"])  # fmt: skip
    head = ["faces", "megapixels", "seconds", "a face", *(f"{stage}, s" for stage in stages), "steps", "steps a second"]
    return table([*head, "files, s", "MiB once loaded", "peak MiB"], lines)
