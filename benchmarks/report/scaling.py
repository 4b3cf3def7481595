"""The report's section on how time and memory grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pandas import DataFrame
from scipy.stats import linregress

from benchmarks.report.tables import NOTHING, format_number, format_table
from benchmarks.rows import CostRow
from benchmarks.suites.cost import FACES_MEGAPIXELS, STEPS
from c2p_core.api import PRIORS

Target = tuple[str, str, str]
# Seconds and MiB that a face should take at most, by prior; others have no aim.
_AIMS = {"makeup": (25, 2048), "stylegan2": (90, 2560)}
_STAGE = "stage "


@dataclass(frozen=True)
class Line:
    """Seconds over faces per photo: a straight line, and the share of the variance that it explains."""

    fixed: float
    per_face: float
    explained: float


def make_cost_frame(rows: Sequence[CostRow]) -> DataFrame:
    """One line per row, with the seconds of each stage but loading in columns such as ``stage search``."""
    lines = [vars(row) | {f"{_STAGE}{name}": s for name, s in row.stages.items() if name != "load"} for row in rows]
    return DataFrame(lines) if lines else DataFrame(columns=list(CostRow.__annotations__))


def select_stage_seconds(costs: DataFrame) -> DataFrame:
    """The columns of stages, by the name of the stage; stages that no line has are left out."""
    stages = costs.filter(regex=f"^{_STAGE}").rename(columns=lambda name: name.removeprefix(_STAGE))
    return stages.dropna(axis=1, how="all").fillna(0.0)


def select_over_faces(costs: DataFrame) -> DataFrame:
    """Select the lines that differ only in faces per photo, sorted by these."""
    selected = costs[(costs["limit"] == STEPS) & (costs["megapixels"].astype(float).round() == FACES_MEGAPIXELS)]
    return selected.sort_values("faces", kind="stable")


def select_over_megapixels(costs: DataFrame) -> DataFrame:
    """Select the lines that differ only in megapixels, sorted by these."""
    selected = costs[(costs["limit"] == STEPS) & (costs["portraits"] == 1)]
    return selected.sort_values("megapixels", kind="stable")


def _select_whole_search(costs: DataFrame, prior: str) -> DataFrame:
    """Lines of the whole search with a prior, small photos first."""
    return costs[costs["limit"].isna() & (costs["prior"] == prior)].sort_values("megapixels", kind="stable")


def fit_line(costs: DataFrame) -> Line | None:
    """Least squares through seconds over faces; None below three lines."""
    points = select_over_faces(costs)
    if len(points) < 3:
        return None
    fit = linregress(points["faces"].astype(float), points["seconds"].astype(float))
    return Line(float(fit.intercept), float(fit.slope), float(fit.rvalue**2))


def list_targets(costs: DataFrame) -> list[Target]:
    """Lines for the table of targets: figure, target, measured."""
    lines: list[Target] = []
    sizes = {}
    for prior, (seconds, peak) in _AIMS.items():
        whole_search = _select_whole_search(costs, prior)
        by_size = sizes[prior] = _index_by_size(whole_search)
        for _, small in whole_search.head(1).iterrows():
            lines.append((f"seconds a face, {prior}, models loaded", f"≤ {seconds}", f"{small['seconds']:.1f}"))
            lines.append((f"peak memory, {prior}", f"≤ {peak} MiB", f"{small['peak_mib']:.0f} MiB"))
        if {1, 24} <= set(by_size.index):
            figure = f"seconds a face at 24 megapixels over those at 1, {prior}"
            lines.append((figure, "1, that is flat", f"{by_size['seconds'][24] / by_size['seconds'][1]:.2f}"))
    checks = costs[costs["check"].notna()]
    if len(checks):
        slowest = checks.loc[checks["check"].astype(float).idxmax()]
        figure = (
            f"seconds for `c2p check --robustness`, one face, {slowest['megapixels']:.0f} megapixels, models loaded"
        )
        lines.append((figure, "≤ 20", format_number(slowest["check"], 1)))
    by_size = sizes[PRIORS[0]]
    if {1, 24} <= set(by_size.index):
        outside = select_stage_seconds(by_size).drop(columns="search").sum(axis=1)
        memory = by_size["peak_mib"]
        lines.append(("24 megapixels add, seconds (outside the search)", "≤ 3", f"{outside[24] - outside[1]:.1f}"))
        lines.append(("24 megapixels add, memory", "≤ 1024 MiB", f"{memory[24] - memory[1]:.0f} MiB"))
    return lines


def _index_by_size(costs: DataFrame) -> DataFrame:
    """One line per rounded number of megapixels, the last one measured."""
    indexed = costs.set_index(costs["megapixels"].astype(float).round())
    return indexed[~indexed.index.duplicated(keep="last")]


def write_section(costs: DataFrame) -> str:
    """Tables over faces and over megapixels, and the straight line through the first."""
    if costs.empty:
        return "Not measured yet: `python -m benchmarks run --suite speed`, with nothing else running."
    codes = ", ".join(sorted(set(costs["code"])))
    strength = costs["strength"].iloc[-1]
    parts = [f"Strength {strength:g}, code {codes}; each row a fresh process, its models loaded before."]
    tables = {
        **{f"The whole search of one face, prior {prior}": _select_whole_search(costs, prior) for prior in PRIORS},
        f"Faces a photo, {FACES_MEGAPIXELS:g} megapixels, {STEPS} steps a face": select_over_faces(costs),
        f"Megapixels, one face, {STEPS} steps": select_over_megapixels(costs),
    }
    parts += [f"{title}:\n\n{_format_costs(table_costs)}" for title, table_costs in tables.items() if len(table_costs)]
    fit = fit_line(costs)
    if fit is not None:
        parts.append(
            f"Straight line over faces: {fit.fixed:.1f} s and {fit.per_face:.1f} s a face"
            f" ({100 * fit.explained:.1f} % of the variance)."
        )
    return "\n\n".join(parts)


def _format_costs(costs: DataFrame) -> str:
    stages = select_stage_seconds(costs).drop(columns="start", errors="ignore")
    rate = (costs["steps"] / stages["search"]).where(stages["search"] > 0) if "search" in stages else None
    figures = {
        "faces": (costs["faces"], 0),
        "megapixels": (costs["megapixels"], 0),
        "seconds": (costs["seconds"], 1),
        "a face": (costs["seconds"] / costs["faces"].clip(lower=1), 1),
        **{f"{stage}, s": (stages[stage], 1) for stage in stages},
        "steps": (costs["steps"], 0),
        "steps a second": (rate, 1),
        "files, s": (costs["files"], 1),
        "MiB once loaded": (costs["loaded_mib"], 0),
        "peak MiB": (costs["peak_mib"], 0),
    }
    return format_table(
        DataFrame(
            {
                title: NOTHING
                if values is None
                else values.map(lambda value, digits=digits: format_number(value, digits))
                for title, (values, digits) in figures.items()
            },
            index=costs.index,
        )
    )
