"""How much protection is left after published pictures are degraded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pandas import DataFrame, MultiIndex

from benchmarks.metrics.psr import (
    FAR1,
    Rate,
    compute_escapes,
    held_out_rate,
    select_threshold,
    split_held_out_runs,
    white_box_rate,
)
from benchmarks.report.tables import format_percent, format_table
from benchmarks.rows import RobustnessRow, Score, Setting
from c2p_core.robustness import DEGRADATIONS

UNDEGRADED = "as it is"
# Degradations with a target.
TARGETED = ("JPEG 70", "resize 50 %", "social network")


@dataclass(frozen=True)
class Degraded:
    """A protected picture after one degradation, as `benchmarks.metrics.psr.Compared`."""

    setting: Setting
    scores: tuple[Score, ...]
    face_before: bool
    face_after: bool


def degrade(rows: Iterable[RobustnessRow], name: str) -> list[Degraded]:
    """The rows after one degradation, or `UNDEGRADED`; pictures that showed no face before it are left out."""
    degraded_rows = []
    for row in rows:
        if not row.undegraded:
            continue
        if name == UNDEGRADED:
            degraded_rows.append(Degraded(row.setting, row.undegraded, True, True))
        elif name in row.degraded:
            pairs = row.degraded[name]
            scores = tuple(replace(s, before=b, after=a) for s, (b, a) in zip(row.undegraded, pairs, strict=False))
            degraded_rows.append(Degraded(row.setting, scores, True, bool(pairs)))
    return degraded_rows


def held_out_rates(rows: Sequence[RobustnessRow], recognisers: MultiIndex) -> dict[str, Rate]:
    """Held-out protection at FAR 1 % by degradation, `UNDEGRADED` first."""
    names = (UNDEGRADED, *(degradation.name for degradation in DEGRADATIONS))
    rates = {name: held_out_rate(_compute_escapes(degrade(rows, name), recognisers)) for name in names}
    return {name: rate for name, rate in rates.items() if rate is not None}


def _compute_escapes(degraded: Sequence[Degraded], recognisers: MultiIndex) -> DataFrame:
    return select_threshold(compute_escapes(degraded, recognisers), FAR1)


def write_section(rows: Sequence[RobustnessRow], recognisers: MultiIndex) -> str:
    """One table per method and strength."""
    if not rows:
        return "Not measured yet: `python -m benchmarks run --suite robustness`."
    return "\n\n".join(
        f"{variant}, strength {strength:g}, {len({row.setting.face for row in group})} faces:\n\n"
        + _format_rates(group, recognisers)
        for (variant, strength), group in group_rows(rows).items()
    )


def group_rows(rows: Iterable[RobustnessRow]) -> dict[tuple[str, float], list[RobustnessRow]]:
    """Rows by variant and strength, in order."""
    groups: dict[tuple[str, float], list[RobustnessRow]] = {}
    for row in rows:
        groups.setdefault((row.setting.variant, row.setting.strength), []).append(row)
    return dict(sorted(groups.items()))


def _format_rates(group: Sequence[RobustnessRow], recognisers: MultiIndex) -> str:
    rates, lines = held_out_rates(group, recognisers), []
    for name, rate in rates.items():
        degraded = degrade(group, name)
        escaped = _compute_escapes(degraded, recognisers)
        shares = {n: run[n].mean() for run in split_held_out_runs(escaped).values() for n in run}
        white_box = white_box_rate(escaped)
        recognised = [score.before > score.far1 for row in degraded for score in row.scores]
        lines.append(
            {
                "after": name,
                "held-out": rate,
                "points": "" if name == UNDEGRADED else f"{100 * (rate.value - rates[UNDEGRADED].value):+.0f}",
                "white-box": format_percent(white_box.value if white_box else None),
                **{f"{n} held out": format_percent(shares.get(n)) for _, n in recognisers},
                "no face": sum(not row.face_after for row in degraded),
                "unprotected photo recognised": format_percent(
                    sum(recognised) / len(recognised) if recognised else None
                ),
            }
        )
    return format_table(lines)
