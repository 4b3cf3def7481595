"""Rows as pandas frames: a line per picture, per score or per pair of photos.

All frames have the index levels `KEYS`, so that they are grouped in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from pandas import DataFrame

from benchmarks.rows import OtherScore, OthersRow, PaperRow, PaperScore, ProtectedPairsRow, Score, Setting

# Lines of one variant and strength become one line of a table.
VARIANT = ["variant", "strength"]
KEYS = [*VARIANT, "method", "prior", "face", "hold_out"]


class HasSetting(Protocol):
    """A row whose key is a setting."""

    @property
    def setting(self) -> Setting: ...


def _make_frame(lines: Iterable[dict[str, Any]], columns: Sequence[str]) -> DataFrame:
    return DataFrame(list(lines), columns=[*KEYS, *columns]).set_index(KEYS)


def _make_line(row: HasSetting, columns: dict[str, Any]) -> dict[str, Any]:
    return {name: getattr(row.setting, name) for name in KEYS} | columns


def make_picture_frame(rows: Iterable[HasSetting], *attributes: str) -> DataFrame:
    """A line per row, with the given attributes as columns."""
    return _make_frame((_make_line(row, {name: getattr(row, name) for name in attributes}) for row in rows), attributes)


def make_score_frame(scores: Iterable[tuple[HasSetting, Iterable[Score]]]) -> DataFrame:
    """A line per score, with its attributes as columns."""
    lines = (_make_line(row, vars(score)) for row, row_scores in scores for score in row_scores)
    return _make_frame(lines, list(Score.__annotations__)).astype(
        dict.fromkeys(["rank", "decoy_before", "decoy"], float)
    )


def make_pair_frame(rows: Iterable[OthersRow | ProtectedPairsRow | PaperRow]) -> DataFrame:
    """A line per pair of photos and recogniser, with ``before`` and ``after``: similarities, NaN without a face."""
    columns = ["recogniser", "family", "role", "far1", "far01"]
    lines = (
        _make_line(row, {name: getattr(s, name) for name in columns} | {"before": before, "after": after})
        for row in rows
        for s in row.scores
        for before, after in s.others.values()
    )
    return _make_frame(lines, [*columns, "before", "after"]).astype({"before": float, "after": float})


def make_search_frame(rows: Iterable[OthersRow]) -> DataFrame:
    """A line per photo and recogniser that searches for it.

    Columns: the recogniser's attributes in `OtherScore`, ``own``, and for each of "mate" (the most similar other photo
    of the person), "nearest" (of anybody else in the folder) and "stranger" similarities before and after protection,
    such as ``mate_before``; NaN where there is none, or no face.
    """

    def collect_similarities(score: OtherScore) -> dict[str, float | None]:
        after = [value for _, value in score.others.values() if value is not None]
        mate = (max(before for before, _ in score.others.values()), max(after, default=None)) if score.others else None
        changes = {"mate": mate, "nearest": score.nearest, "stranger": score.stranger}
        return {
            f"{rival}_{moment}": None if pair is None else pair[index]
            for rival, pair in changes.items()
            for index, moment in enumerate(("before", "after"))
        }

    columns = ["recogniser", "family", "role", "far1", "far01", "own"]
    numbers = [f"{rival}_{when}" for rival in ("mate", "nearest", "stranger") for when in ("before", "after")]
    lines = (
        _make_line(row, {name: getattr(s, name) for name in columns} | collect_similarities(s))
        for row in rows
        for s in row.scores
    )
    return _make_frame(lines, [*columns, *numbers]).astype(dict.fromkeys(["own", *numbers], float))


def make_identification_frame(rows: Iterable[PaperRow]) -> DataFrame:
    """A line per photo and recogniser of the papers' protocol.

    Columns: the recogniser's attributes in `PaperScore`, and its ``person_rank``, ``target`` and ``target_rank`` before
    and after protection, such as ``target_before``; NaN where there is none, or no face.
    """
    columns = ["recogniser", "family", "role", "far1", "far01"]
    changes = ("person_rank", "target", "target_rank")
    numbers = [f"{name}_{when}" for name in changes for when in ("before", "after")]

    def collect_values(score: PaperScore) -> dict[str, float | None]:
        figures = [value for name in changes for value in getattr(score, name) or (None, None)]
        return dict(zip(numbers, figures, strict=True))

    lines = (
        _make_line(row, {name: getattr(s, name) for name in columns} | collect_values(s))
        for row in rows
        for s in row.scores
    )
    return _make_frame(lines, [*columns, *numbers]).astype(dict.fromkeys(numbers, float))


def select(frame: DataFrame, **levels: object) -> DataFrame:
    """Select the lines whose index levels have these values."""
    for name, value in levels.items():
        frame = frame[frame.index.get_level_values(name) == value]
    return frame


def select_largest(frame: DataFrame, method: str, strength: float) -> DataFrame:
    """Select the variant of a method and strength with the most lines, usually the default; the first of equals."""
    lines = select(frame, method=method, strength=strength)
    return lines if lines.empty else select(lines, variant=lines.groupby(level="variant").size().idxmax())


def count_faces(frame: DataFrame) -> int:
    """Number of different photos in the lines."""
    return int(frame.index.get_level_values("face").nunique())
