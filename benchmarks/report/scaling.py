"""How cost grows: the report's section on seconds and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pandas import DataFrame
from scipy.stats import linregress

from benchmarks.report.tables import NOTHING, number, table
from benchmarks.rows import CostRow
from benchmarks.suites.cost import FACES_MEGAPIXELS, STEPS
from c2p_core.api import PRIORS

Target = tuple[str, str, str]
# Seconds and MiB that a face should take at most, by prior.
_AIMS = dict(zip(PRIORS, ((25, 2048), (90, 2560)), strict=True))
_STAGE = "stage "


@dataclass(frozen=True)
class Line:
    """Seconds over faces a photo: a straight line, and the share of the variance that it explains."""

    fixed: float
    per_face: float
    explained: float


def make_cost_frame(rows: Sequence[CostRow]) -> DataFrame:
    """A line a row, with the seconds of each stage but loading in columns such as ``stage search``."""
    lines = [vars(row) | {f"{_STAGE}{name}": s for name, s in row.stages.items() if name != "load"} for row in rows]
    return DataFrame(lines) if lines else DataFrame(columns=list(CostRow.__annotations__))


def stage_seconds(costs: DataFrame) -> DataFrame:
    """The columns of stages, by the name of the stage; stages that no line has are left out."""
    stages = costs.filter(regex=f"^{_STAGE}").rename(columns=lambda name: name.removeprefix(_STAGE))
    return stages.dropna(axis=1, how="all").fillna(0.0)


def over_faces(costs: DataFrame) -> DataFrame:
    """Lines that differ in faces a photo alone, few first."""
    found = costs[(costs["limit"] == STEPS) & (costs["megapixels"].astype(float).round() == FACES_MEGAPIXELS)]
    return found.sort_values("faces", kind="stable")


def over_megapixels(costs: DataFrame) -> DataFrame:
    """Lines that differ in megapixels alone, small first."""
    found = costs[(costs["limit"] == STEPS) & (costs["portraits"] == 1)]
    return found.sort_values("megapixels", kind="stable")


def _whole_search(costs: DataFrame, prior: str) -> DataFrame:
    """Lines of the whole search with a prior, small photos first."""
    return costs[costs["limit"].isna() & (costs["prior"] == prior)].sort_values("megapixels", kind="stable")


def fit_line(costs: DataFrame) -> Line | None:
    """Least squares through seconds over faces; None below three lines."""
    found = over_faces(costs)
    if len(found) < 3:
        return None
    fit = linregress(found["faces"].astype(float), found["seconds"].astype(float))
    return Line(float(fit.intercept), float(fit.slope), float(fit.rvalue**2))


def targets(costs: DataFrame) -> list[Target]:
    """Lines for the table of targets: figure, target, measured."""
    lines: list[Target] = []
    sizes = {}
    for prior, (seconds, peak) in _AIMS.items():
        whole = _whole_search(costs, prior)
        found = sizes[prior] = _by_size(whole)
        for _, small in whole.head(1).iterrows():
            lines.append((f"seconds a face, {prior}, models loaded", f"≤ {seconds}", f"{small['seconds']:.1f}"))
            lines.append((f"peak memory, {prior}", f"≤ {peak} MiB", f"{small['peak_mib']:.0f} MiB"))
        if {1, 24} <= set(found.index):
            what = f"seconds a face at 24 megapixels over those at 1, {prior}"
            lines.append((what, "1, that is flat", f"{found['seconds'][24] / found['seconds'][1]:.2f}"))
    checks = costs[costs["check"].notna()]
    if len(checks):
        slowest = checks.loc[checks["check"].astype(float).idxmax()]
        what = f"seconds for `c2p check --robustness`, one face, {slowest['megapixels']:.0f} megapixels, models loaded"
        lines.append((what, "≤ 20", number(slowest["check"], 1)))
    found = sizes[PRIORS[0]]
    if {1, 24} <= set(found.index):
        outside = stage_seconds(found).drop(columns="search").sum(axis=1)
        memory = found["peak_mib"]
        lines.append(("24 megapixels add, seconds (outside the search)", "≤ 3", f"{outside[24] - outside[1]:.1f}"))
        lines.append(("24 megapixels add, memory", "≤ 1024 MiB", f"{memory[24] - memory[1]:.0f} MiB"))
    return lines


def _by_size(costs: DataFrame) -> DataFrame:
    """One line a rounded number of megapixels, the last one measured."""
    found = costs.set_index(costs["megapixels"].astype(float).round())
    return found[~found.index.duplicated(keep="last")]


def write_section(costs: DataFrame) -> str:
    """Tables over faces and over megapixels, and the straight line through the first."""
    if costs.empty:
        return "Not measured yet: `python -m benchmarks run --suite speed`, with nothing else running."
    codes = ", ".join(sorted(set(costs["code"])))
    strength = costs["strength"].iloc[-1]
    parts = [f"Strength {strength:g}, code {codes}; each row a fresh process, its models loaded before."]
    tables = {
        **{f"The whole search of one face, prior {prior}": _whole_search(costs, prior) for prior in PRIORS},
        f"Faces a photo, {FACES_MEGAPIXELS:g} megapixels, {STEPS} steps a face": over_faces(costs),
        f"Megapixels, one face, {STEPS} steps": over_megapixels(costs),
    }
    parts += [f"{title}:\n\n{_table(found)}" for title, found in tables.items() if len(found)]
    fit = fit_line(costs)
    if fit is not None:
        parts.append(
            f"Straight line over faces: {fit.fixed:.1f} s and {fit.per_face:.1f} s a face"
            f" ({100 * fit.explained:.1f} % of the variance)."
        )
    return "\n\n".join(parts)


def _table(costs: DataFrame) -> str:
    stages = stage_seconds(costs).drop(columns="start", errors="ignore")
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
    return table(
        DataFrame(
            {
                title: NOTHING if values is None else values.map(lambda value, digits=digits: number(value, digits))
                for title, (values, digits) in figures.items()
            },
            index=costs.index,
        )
    )
