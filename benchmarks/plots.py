"""The report's pictures: figures only, never a face, so that they can be committed."""

# mypy: allow-untyped-calls
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes

from benchmarks import growth, lasting
from benchmarks.curves import OTHER_PRIOR, OURS, Point
from benchmarks.rates import Names
from benchmarks.rows import CostRow, SurviveRow
from benchmarks.tables import by_variant

CURVES_FILE = "curves.png"
SURVIVAL_FILE = "survival.png"
COST_FILE = "cost.png"

_COLOURS = {
    OURS: "#c0392b",
    OTHER_PRIOR: "#e08e45",
    "pgd": "#1f4e79",
    "mi-fgsm": "#4a90c2",
    "masked-noise": "#7fb3a8",
    "smooth-noise": "#2f7d6b",
    "look": "#b08ab8",
    "blur": "#8a8f98",
    "pixelate": "#c9a227",
}
_MARKS = "osD^vPX*<"
# What a figure that was written by another day's library must not differ in.
_PLAIN: dict[str, Any] = {"Software": None}


def _save(figure: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata=_PLAIN)
    pyplot.close(figure)
    return path


def _tidy(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#e3e5e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def curves(points: Sequence[Point], path: Path) -> Path:
    """Held-out protection over four measures of visibility, a line a method; up and right is better."""
    measures = (
        ("ssim", "SSIM of the photo"),
        ("psnr", "PSNR of the photo, dB"),
        ("flip", "FLIP of the photo"),
        ("patch_face", "patchiness of the face"),
    )
    figure, panels = pyplot.subplots(2, 2, figsize=(12, 8.6), layout="constrained", sharey=True)
    panels = panels.ravel()
    for axes, (figure_of, label) in zip(panels, measures, strict=True):
        for index, method in enumerate(dict.fromkeys(p.method for p in points)):
            own = sorted((p for p in points if p.method == method), key=lambda p: p.strength)
            axes.plot(
                np.array([getattr(p, figure_of) for p in own], dtype=float),
                [100 * p.held_out.value for p in own],
                marker=_MARKS[index % len(_MARKS)],
                label=method,
                color=_COLOURS.get(method, "#444444"),
                linewidth=2.6 if method == OURS else 1.4,
                zorder=3 if method == OURS else 2,
            )
        _tidy(axes, "Protection over visibility", f"{label} (right: less visible)", "held-out protection, % of faces")
        axes.set_ylim(-3, 103)
    panels[0].axvspan(0.90, 0.98, color="#f4f1e8", zorder=0)
    for axes in panels[2:]:
        axes.invert_xaxis()
    panels[3].legend(frameon=False, fontsize=9)
    return _save(figure, path)


def survival(rows: Sequence[SurviveRow], names: Names, path: Path) -> Path:
    """Held-out protection after each degradation, a mark a method and prior; lines show it without any."""
    groups = by_variant(rows)
    rates = {key: lasting.held_out(group, names) for key, group in groups.items()}
    labels = list(dict.fromkeys(name for found in rates.values() for name in found))
    figure, axes = pyplot.subplots(figsize=(11, 4.6), layout="constrained")
    for index, ((variant, strength), found) in enumerate(rates.items()):
        if not found:
            continue
        setting = groups[variant, strength][0].setting
        method = setting.method
        colour = _COLOURS.get(method, "#444444")
        axes.plot(
            range(len(labels)),
            [100 * found[name].value if name in found else float("nan") for name in labels],
            _MARKS[index % len(_MARKS)],
            color=colour,
            label=f"{method} {setting.prior}".strip() + f" {strength:g}",
            markersize=8 if method == OURS else 6,
        )
        axes.axhline(100 * found[lasting.AS_IT_IS].value, color=colour, linewidth=1, alpha=0.5)
    _tidy(axes, "What survives", "", "held-out protection, % of faces")
    axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right")
    axes.set_ylim(-3, 103)
    axes.legend(frameon=False, fontsize=9)
    return _save(figure, path)


def cost(rows: Sequence[CostRow], path: Path) -> Path:
    """Seconds by stage, and below them peak memory, over faces a photo and over megapixels."""
    figure, panels = pyplot.subplots(2, 2, figsize=(11, 6.4), layout="constrained", height_ratios=(2, 1))
    for column, found, label, title in (
        (0, growth.over_faces(rows), "faces in the photo", "Seconds over faces"),
        (1, growth.over_megapixels(rows), "megapixels", "Seconds over megapixels, one face"),
    ):
        axes, memory = panels[0][column], panels[1][column]
        at = [str(c.faces) if label.startswith("faces") else f"{c.megapixels:.0f}" for c in found]
        below = [0.0] * len(found)
        stages = dict.fromkeys(stage for c in found for stage in c.stages if stage not in ("load", "start"))
        for index, stage in enumerate(stages):
            seconds = [c.stages.get(stage, 0.0) for c in found]
            axes.bar(at, seconds, bottom=below, label=stage, color=matplotlib.colormaps["tab20c"](index), width=0.65)
            below = [a + b for a, b in zip(below, seconds, strict=True)]
        _tidy(axes, title, label, "seconds, models loaded")
        axes.legend(frameon=False, fontsize=9)
        memory.bar(at, [c.peak_mib for c in found], color="#8a8f98", width=0.65)
        _tidy(memory, "", label, "peak MiB")
    return _save(figure, path)
