"""Markdown tables and the groups that they show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Protocol, TypeVar

from benchmarks.rows import Setting


class _Set(Protocol):
    @property
    def setting(self) -> Setting: ...


AnySet = TypeVar("AnySet", bound=_Set)
Key = tuple[str, float]


def by_variant(rows: Iterable[AnySet]) -> dict[Key, list[AnySet]]:
    """Rows of one variant and strength together, in order."""
    groups: dict[Key, list[AnySet]] = {}
    for row in rows:
        groups.setdefault((row.setting.variant, row.setting.strength), []).append(row)
    return dict(sorted(groups.items()))


def largest(groups: dict[Key, list[AnySet]], method: str, strength: float) -> list[AnySet]:
    """The group of a method and strength with the most rows: the usual prompt and steps; of equals the first."""
    found = [g for (_, s), g in groups.items() if s == strength and g[0].setting.method == method]
    return max(found, key=len, default=[])


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are known; None of none."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def number(value: float | None, digits: int) -> str:
    """A figure, or a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """0..1 as per cent, or a dash for None."""
    return "–" if value is None else f"{100 * value:.0f} %"


def table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    cells = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in cells)
