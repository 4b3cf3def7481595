"""Methods side by side at equal visibility: each one's protection over how much its pictures still look like before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.rates import THRESHOLDS, Names, Rate, held_out_rate, held_out_runs, white_box_rate
from benchmarks.rows import NaturalRow, ProtectRow
from benchmarks.sweeps import CURVES
from benchmarks.tables import by_variant, largest, mean, number, table
from c2p_core.api import PRIORS

OURS = "c2p"
OTHER_PRIOR = f"{OURS} {PRIORS[1]}"

# Equal visibility by each of five measures: its title, and the levels at which methods are compared. The last two are
# of the face alone; they were added when the first three called stripes in all colours less visible than makeup.
LEVELS = {
    "ssim": ("SSIM", (0.90, 0.92, 0.94, 0.96, 0.98)),
    "psnr": ("PSNR", (26.0, 28.0, 30.0, 32.0, 34.0)),
    "flip": ("FLIP", (0.06, 0.05, 0.04, 0.03, 0.02)),
    "patch_face": ("patchiness", (6.0, 5.0, 4.0, 3.0, 2.0)),
    "skin_de_mean": ("skin ΔE 2000", (7.0, 6.0, 5.0, 4.0, 3.0)),
}


@dataclass(frozen=True)
class Point:
    """A method at one strength, over the faces that all methods were measured on.

    Attributes:
        held_out, white_box: at FAR 1 %; white_box is None for methods without a search.
        pictures: that are seen in ssim, psnr and flip, which are means of the whole photo, and in patch_face and
            skin_de_mean, which are of the face; those are None where no picture shows one, flip for rows of older runs.
    """

    method: str
    strength: float
    held_out: Rate
    white_box: Rate | None
    pictures: int
    ssim: float
    psnr: float
    flip: float | None
    patch_face: float | None = None
    skin_de_mean: float | None = None


def points(protect: Sequence[ProtectRow], natural: Sequence[NaturalRow], names: Names) -> list[Point]:
    """One point a method and strength of `sweeps.CURVES`; none of a method that was not measured with all families.

    None at all where there is but one method, which is beside no other.

    The product's other prior is a method of its own there, ``OTHER_PRIOR``.
    """
    groups, looks = by_variant(protect), by_variant(natural)
    chosen = {(m, s): largest(groups, m, s) for m, strengths in CURVES.items() for s in strengths}
    other = {key: group for key, group in groups.items() if group[0].setting.prior == PRIORS[1]}
    chosen |= {(OTHER_PRIOR, s): largest(other, OURS, s) for s in CURVES[OURS]}
    chosen = {key: group for key, group in chosen.items() if set(held_out_runs(group, names)) == set(names)}
    if len({method for method, _ in chosen}) < 2:
        return []
    faces = set.intersection(*({row.setting.face for row in group} for group in chosen.values()))
    far1, found = THRESHOLDS["FAR 1 %"], []
    for (method, strength), group in chosen.items():
        shared = [row for row in group if row.setting.face in faces]
        wanted = {row.setting for row in shared}
        seen = [look for looked in looks.values() for look in looked if look.setting in wanted]
        held = held_out_rate(shared, names, far1)
        ssim, psnr = mean(look.ssim for look in seen), mean(look.psnr for look in seen)
        if held is not None and ssim is not None and psnr is not None:
            white = white_box_rate(shared, names, far1)
            others = (mean(getattr(look, name) for look in seen) for name in ("flip", "patch_face", "skin_de_mean"))
            found.append(Point(method, strength, held, white, len(seen), ssim, psnr, *others))
    return found


def protection_at(curve: Sequence[Point], figure: str, value: float) -> float | None:
    """Protection of one method where its pictures are as visible as given, between its points by straight lines.

    None where the method was not measured so visible, or so discreet.
    """
    known = sorted((getattr(p, figure), p.held_out.value) for p in curve if getattr(p, figure) is not None)
    if not known or not known[0][0] <= value <= known[-1][0]:
        return None
    return float(np.interp(value, [x for x, _ in known], [y for _, y in known]))


def section(found: Sequence[Point]) -> str:
    """Tables: every point, and all methods at equal visibility."""
    if not found:
        return "Not measured yet: `python -m benchmarks run`."
    lines = [
        [p.method, f"{p.strength:g}", p.held_out, p.white_box or "–", f"{p.ssim:.3f}", f"{p.psnr:.1f}",
         number(p.flip, 3), number(p.patch_face, 1), number(p.skin_de_mean, 1), p.pictures]
        for p in found
    ]  # fmt: skip
    head = [
        "method",
        "strength",
        "held-out",
        "white-box",
        "SSIM",
        "PSNR, dB",
        "FLIP",
        "patchiness",
        "skin ΔE 2000",
        "pictures",
    ]
    faces = found[0].held_out.count
    text = f"Faces that all of these were measured on: {faces}. FAR 1 %.\n\n{table(head, lines)}\n\n"
    for figure, (title, values) in LEVELS.items():
        rows = []
        for method in dict.fromkeys(p.method for p in found):
            curve = [p for p in found if p.method == method]
            at = [protection_at(curve, figure, value) for value in values]
            rows.append([method, *("–" if rate is None else f"{100 * rate:.0f} %" for rate in at)])
        text += f"Held-out protection at equal {title} (a dash: not measured at this visibility):\n\n"
        text += table(["method", *(f"{value:g}" for value in values)], rows) + "\n\n"
    return text.rstrip()


def above_all(found: Sequence[Point], figure: str) -> tuple[int, int]:
    """At how many `LEVELS` of a figure our best prior protects more than every other method, and was measured.

    A method that was not measured at a level is not in the way there.
    """
    curves = {m: [p for p in found if p.method == m] for m in dict.fromkeys(p.method for p in found)}
    best = measured = 0
    for value in LEVELS[figure][1]:
        own = [protection_at(curves.get(method, []), figure, value) for method in (OURS, OTHER_PRIOR)]
        best_of_ours = max((rate for rate in own if rate is not None), default=None)
        if best_of_ours is None:
            continue
        measured += 1
        others = [protection_at(c, figure, value) for name, c in curves.items() if name not in (OURS, OTHER_PRIOR)]
        best += all(best_of_ours > other for other in others if other is not None)
    return best, measured
