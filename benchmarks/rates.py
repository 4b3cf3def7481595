"""Shares of faces that are protected, with their intervals."""

# mypy: allow-untyped-calls
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol, TypeVar

from scipy.stats import binomtest

from benchmarks.rows import NO_FAMILY, Score, Setting


class Limits(Protocol):
    """What a threshold is taken of: a score of any kind."""

    @property
    def far1(self) -> float: ...
    @property
    def far01(self) -> float: ...


class Judged(Protocol):
    """What a rate needs of a row: see `rows.ProtectRow`."""

    @property
    def setting(self) -> Setting: ...
    @property
    def scores(self) -> tuple[Score, ...]: ...
    @property
    def face_before(self) -> bool: ...
    @property
    def face_after(self) -> bool: ...


AnyJudged = TypeVar("AnyJudged", bound=Judged)

# Recognisers by family.
Names = dict[str, tuple[str, ...]]
Threshold = Callable[[Limits], float]
THRESHOLDS: dict[str, Threshold] = {"FAR 1 %": lambda s: s.far1, "FAR 0.1 %": lambda s: s.far01}


@dataclass(frozen=True)
class Rate:
    """A share of faces: ``value`` 0..1 of ``count`` faces, with its 95 % Wilson interval."""

    value: float
    count: int

    @property
    def interval(self) -> tuple[float, float]:
        """A mean over recognisers or runs judges the same faces again, so it counts each face once."""
        ci = binomtest(round(self.value * self.count), self.count).proportion_ci(method="wilson")
        return float(ci.low), float(ci.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.value:.0f} % ({100 * low:.0f}–{100 * high:.0f})"


def escaped(row: Judged, recogniser: str, threshold: Threshold) -> bool:
    """Whether one recogniser no longer matches a face. No face after: it can't. No face before: not protected."""
    if not row.face_before:
        return False
    if not row.face_after:
        return True
    scores = [s for s in row.scores if s.recogniser == recogniser]
    # A recogniser that was not asked has not been escaped.
    return bool(scores) and all(s.after < threshold(s) for s in scores)


def recognisers(protect: Iterable[Judged]) -> Names:
    """Names by family, as all rows together have them: a row without a face names none."""
    found: dict[str, set[str]] = {}
    for row in protect:
        for score in row.scores:
            found.setdefault(score.family, set()).add(score.recogniser)
    return {family: tuple(sorted(names)) for family, names in sorted(found.items())}


def recogniser_rate(group: Sequence[Judged], recogniser: str, threshold: Threshold) -> Rate:
    """Share of a group's faces that one recogniser no longer matches."""
    return Rate(fmean(escaped(row, recogniser, threshold) for row in group), len(group))


def held_out_runs(group: Sequence[AnyJudged], names: Names) -> dict[str, list[AnyJudged]]:
    """The rows by family that judges without having been optimised; a method that searches nothing serves for all."""
    runs = {f: [r for r in group if r.setting.hold_out in (f, NO_FAMILY)] for f in names}
    return {family: found for family, found in runs.items() if found}


def held_out_rate(group: Sequence[Judged], names: Names, threshold: Threshold) -> Rate | None:
    """The headline: mean over the leave-one-family-out runs of the mean rate of the family's recognisers.

    None when there is no run to judge by.
    """
    runs = held_out_runs(group, names)
    if not runs:
        return None
    means = [fmean(recogniser_rate(found, n, threshold).value for n in names[f]) for f, found in runs.items()]
    return Rate(fmean(means), len({row.setting.face for row in group}))


def all_rate(group: Sequence[Judged], names: Names, threshold: Threshold) -> Rate:
    """Share of pictures that no recogniser at all matches any more."""
    everyone = [n for members in names.values() for n in members]
    found = fmean(all(escaped(row, n, threshold) for n in everyone) for row in group)
    return Rate(found, len({row.setting.face for row in group}))


def white_box_rate(group: Sequence[Judged], names: Names, threshold: Threshold) -> Rate | None:
    """Share of pictures that no optimised recogniser matches any more, over all runs; None when none was optimised."""
    searched = [row for row in group if row.setting.hold_out != NO_FAMILY]
    if not searched:
        return None

    def allescaped(row: Judged) -> bool:
        optimised = [n for family, members in names.items() if family != row.setting.hold_out for n in members]
        return all(escaped(row, n, threshold) for n in optimised)

    return Rate(fmean(allescaped(row) for row in searched), len({row.setting.face for row in searched}))
