"""What of the protection outlives what happens to published pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from benchmarks.rates import THRESHOLDS, Names, Rate, held_out_rate, recogniser_rate, white_box_rate
from benchmarks.rows import NO_FAMILY, Score, Setting, SurviveRow
from benchmarks.tables import by_variant, percent, table
from c2p_core.robustness import DEGRADATIONS

AS_IT_IS = "as it is"
# Those that the aims name.
AIMED = ("JPEG 70", "resize 50 %", "social network")


@dataclass(frozen=True)
class Degraded:
    """A protected picture after one degradation, as `rates` judges it."""

    setting: Setting
    scores: tuple[Score, ...]
    face_before: bool
    face_after: bool


def degraded(rows: Iterable[SurviveRow], name: str) -> list[Degraded]:
    """The rows after one degradation, or `AS_IT_IS`; pictures that showed no face before it are left out."""
    found = []
    for row in rows:
        if not row.undegraded:
            continue
        if name == AS_IT_IS:
            found.append(Degraded(row.setting, row.undegraded, True, True))
        elif name in row.degraded:
            pairs = row.degraded[name]
            scores = tuple(replace(s, before=b, after=a) for s, (b, a) in zip(row.undegraded, pairs, strict=False))
            found.append(Degraded(row.setting, scores, True, bool(pairs)))
    return found


def held_out(rows: Sequence[SurviveRow], names: Names) -> dict[str, Rate]:
    """Held-out protection at FAR 1 % by degradation, `AS_IT_IS` first."""
    rates = {}
    for name in (AS_IT_IS, *(d.name for d in DEGRADATIONS)):
        rate = held_out_rate(degraded(rows, name), names, THRESHOLDS["FAR 1 %"])
        if rate is not None:
            rates[name] = rate
    return rates


def section(rows: Sequence[SurviveRow], names: Names) -> str:
    """A table a method and strength."""
    if not rows:
        return "Not measured yet: `python -m benchmarks run --suite survive`."
    parts = []
    for (variant, strength), group in by_variant(rows).items():
        faces = len({row.setting.face for row in group})
        parts.append(f"{variant}, strength {strength:g}, {faces} faces:\n\n{_table(group, names)}")
    return "\n\n".join(parts)


def _table(group: Sequence[SurviveRow], names: Names) -> str:
    far1, unharmed = THRESHOLDS["FAR 1 %"], held_out(group, names)
    lines = []
    for name, rate in unharmed.items():
        found = degraded(group, name)
        change = "" if name == AS_IT_IS else f"{100 * (rate.value - unharmed[AS_IT_IS].value):+.0f}"
        white = white_box_rate(found, names, far1)
        each = []
        for family, members in names.items():
            own = [row for row in found if row.setting.hold_out in (family, NO_FAMILY)]
            each += [percent(recogniser_rate(own, n, far1).value) if own else "–" for n in members]
        known = [score.before > score.far1 for row in found for score in row.scores]
        lost = sum(not row.face_after for row in found)
        lines.append([name, rate, change, percent(white.value if white else None), *each, lost,
                      percent(fmean(known) if known else None)])  # fmt: skip
    recognisers = [f"{name} held out" for members in names.values() for name in members]
    head = ["after", "held-out", "points", "white-box", *recognisers, "no face", "unprotected photo recognised"]
    return table(head, lines)
