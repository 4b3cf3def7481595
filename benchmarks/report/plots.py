"""The report's pictures: figures only, never a face, so that they can be committed."""

# mypy: allow-untyped-calls
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from pandas import DataFrame, MultiIndex

from benchmarks.report import robustness, scaling
from benchmarks.report.visibility import OTHER_PRIOR, OURS, group_curves
from benchmarks.rows import RobustnessRow

CURVES_FILE = "curves.png"
ROBUSTNESS_FILE = "survival.png"
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
_MARKERS = "osD^vPX*<"
# Without the version of matplotlib, which would change the file and not the plot.
_METADATA: dict[str, Any] = {"Software": None}


def _save(figure: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata=_METADATA)
    pyplot.close(figure)
    return path


def _style(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#e3e5e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def plot_curves(curves: DataFrame, path: Path) -> Path:
    """Held-out protection over four measures of visibility, one line per method; up and right is better.

    Args:
        curves: of `visibility.measure_curves`.
    """
    measures = {
        "ssim": "SSIM of the photo",
        "psnr": "PSNR of the photo, dB",
        "flip": "FLIP of the photo",
        "patch_face": "patchiness of the face",
    }
    figure, panels = pyplot.subplots(2, 2, figsize=(12, 8.6), layout="constrained", sharey=True)
    panels = panels.ravel()
    for axes, (name, label) in zip(panels, measures.items(), strict=True):
        for index, (method, curve) in enumerate(group_curves(curves).items()):
            points = curve.sort_values("strength")
            axes.plot(
                points[name],
                [100 * rate.value for rate in points["held_out"]],
                marker=_MARKERS[index % len(_MARKERS)],
                label=method,
                color=_COLOURS.get(method, "#444444"),
                linewidth=2.6 if method == OURS else 1.4,
                zorder=3 if method == OURS else 2,
            )
        _style(axes, "Protection over visibility", f"{label} (right: less visible)", "held-out protection, % of faces")
        axes.set_ylim(-3, 103)
    panels[0].axvspan(0.90, 0.98, color="#f4f1e8", zorder=0)
    for axes in panels[2:]:
        axes.invert_xaxis()
    panels[3].legend(frameon=False, fontsize=9)
    return _save(figure, path)


def plot_robustness(rows: Sequence[RobustnessRow], recognisers: MultiIndex, path: Path) -> Path:
    """Held-out protection after each degradation, one mark per method and prior; lines show it without any."""
    groups = robustness.group_rows(rows)
    rates = {key: robustness.held_out_rates(group, recognisers) for key, group in groups.items()}
    labels = list(dict.fromkeys(name for group_rates in rates.values() for name in group_rates))
    figure, axes = pyplot.subplots(figsize=(11, 4.6), layout="constrained")
    for index, (key, group_rates) in enumerate(rates.items()):
        if not group_rates:
            continue
        setting = groups[key][0].setting
        colour = _COLOURS.get(setting.method, "#444444")
        axes.plot(
            range(len(labels)),
            [100 * group_rates[name].value if name in group_rates else float("nan") for name in labels],
            _MARKERS[index % len(_MARKERS)],
            color=colour,
            label=f"{setting.method} {setting.prior}".strip() + f" {setting.strength:g}",
            markersize=8 if setting.method == OURS else 6,
        )
        axes.axhline(100 * group_rates[robustness.UNDEGRADED].value, color=colour, linewidth=1, alpha=0.5)
    _style(axes, "Robustness", "", "held-out protection, % of faces")
    axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right")
    axes.set_ylim(-3, 103)
    axes.legend(frameon=False, fontsize=9)
    return _save(figure, path)


def plot_cost(costs: DataFrame, path: Path) -> Path:
    """Seconds by stage, and below them peak memory, over faces per photo and over megapixels.

    Args:
        costs: of `scaling.make_cost_frame`.
    """
    figure, panels = pyplot.subplots(2, 2, figsize=(11, 6.4), layout="constrained", height_ratios=(2, 1))
    for column, group, column_name, label, title in (
        (0, scaling.select_over_faces(costs), "faces", "faces in the photo", "Seconds over faces"),
        (1, scaling.select_over_megapixels(costs), "megapixels", "megapixels", "Seconds over megapixels, one face"),
    ):
        axes, memory = panels[0][column], panels[1][column]
        labels = [f"{value:.0f}" for value in group[column_name]]
        if labels:
            stages = scaling.select_stage_seconds(group).drop(columns="start", errors="ignore").set_axis(labels)
            stages.plot.bar(stacked=True, ax=axes, width=0.65, colormap="tab20c", rot=0)
        _style(axes, title, label, "seconds, models loaded")
        axes.legend(frameon=False, fontsize=9)
        memory.bar(labels, group["peak_mib"], color="#8a8f98", width=0.65)
        _style(memory, "", label, "peak MiB")
    return _save(figure, path)
