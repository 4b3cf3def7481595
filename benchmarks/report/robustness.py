"""How much protection is left after what happens to published pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pandas import DataFrame, MultiIndex

from benchmarks.metrics.psr import FAR1, Rate, at_threshold, escapes, held_out_rate, held_out_runs, white_box_rate
from benchmarks.report.tables import percent, table
from benchmarks.rows import RobustnessRow, Score, Setting
from c2p_core.robustness import DEGRADATIONS

UNDEGRADED = "as it is"
# Those that the targets name.
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
    found = []
    for row in rows:
        if not row.undegraded:
            continue
        if name == UNDEGRADED:
            found.append(Degraded(row.setting, row.undegraded, True, True))
        elif name in row.degraded:
            pairs = row.degraded[name]
            scores = tuple(replace(s, before=b, after=a) for s, (b, a) in zip(row.undegraded, pairs, strict=False))
            found.append(Degraded(row.setting, scores, True, bool(pairs)))
    return found


def held_out_rates(rows: Sequence[RobustnessRow], recognisers: MultiIndex) -> dict[str, Rate]:
    """Held-out protection at FAR 1 % by degradation, `UNDEGRADED` first."""
    names = (UNDEGRADED, *(degradation.name for degradation in DEGRADATIONS))
    rates = {name: held_out_rate(_escapes(degrade(rows, name), recognisers)) for name in names}
    return {name: rate for name, rate in rates.items() if rate is not None}


def _escapes(degraded: Sequence[Degraded], recognisers: MultiIndex) -> DataFrame:
    return at_threshold(escapes(degraded, recognisers), FAR1)


def write_section(rows: Sequence[RobustnessRow], recognisers: MultiIndex) -> str:
    """A table a method and strength."""
    if not rows:
        return "Not measured yet: `python -m benchmarks run --suite robustness`."
    return "\n\n".join(
        f"{variant}, strength {strength:g}, {len({row.setting.face for row in group})} faces:\n\n"
        + _table(group, recognisers)
        for (variant, strength), group in group_rows(rows).items()
    )


def group_rows(rows: Iterable[RobustnessRow]) -> dict[tuple[str, float], list[RobustnessRow]]:
    """Rows by variant and strength, in order."""
    groups: dict[tuple[str, float], list[RobustnessRow]] = {}
    for row in rows:
        groups.setdefault((row.setting.variant, row.setting.strength), []).append(row)
    return dict(sorted(groups.items()))


def _table(group: Sequence[RobustnessRow], recognisers: MultiIndex) -> str:
    rates, lines = held_out_rates(group, recognisers), []
    for name, rate in rates.items():
        found = degrade(group, name)
        escaped = _escapes(found, recognisers)
        shares = {n: run[n].mean() for run in held_out_runs(escaped).values() for n in run}
        white_box = white_box_rate(escaped)
        known = [score.before > score.far1 for row in found for score in row.scores]
        lines.append(
            {
                "after": name,
                "held-out": rate,
                "points": "" if name == UNDEGRADED else f"{100 * (rate.value - rates[UNDEGRADED].value):+.0f}",
                "white-box": percent(white_box.value if white_box else None),
                **{f"{n} held out": percent(shares.get(n)) for _, n in recognisers},
                "no face": sum(not row.face_after for row in found),
                "unprotected photo recognised": percent(sum(known) / len(known) if known else None),
            }
        )
    return table(lines)
