"""Protection success rate (PSR): the share of faces that recognisers no longer match, with its interval."""

# mypy: allow-untyped-calls
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol, TypeVar

import numpy as np
from pandas import DataFrame, MultiIndex
from scipy.stats import binomtest

from benchmarks.frames import count_faces, make_picture_frame, make_score_frame
from benchmarks.rows import NO_FAMILY, Score, Setting

# Titles, and the attribute of a score that holds the similarity from which two faces match.
THRESHOLDS = {"FAR 1 %": "far1", "FAR 0.1 %": "far01"}
FAR1 = "FAR 1 %"


class Compared(Protocol):
    """A protected picture compared with its original: see `rows.ProtectRow`."""

    @property
    def setting(self) -> Setting: ...
    @property
    def scores(self) -> tuple[Score, ...]: ...
    @property
    def face_before(self) -> bool: ...
    @property
    def face_after(self) -> bool: ...


AnyCompared = TypeVar("AnyCompared", bound=Compared)


@dataclass(frozen=True)
class Rate:
    """A share of faces: ``value`` 0..1 of ``count`` faces, with its 95 % Wilson interval."""

    value: float
    count: int

    @property
    def interval(self) -> tuple[float, float]:
        """A mean over recognisers or runs is over the same faces, so it counts each face once."""
        ci = binomtest(round(self.value * self.count), self.count).proportion_ci(method="wilson")
        return float(ci.low), float(ci.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.value:.0f} % ({100 * low:.0f}–{100 * high:.0f})"


def list_recognisers(rows: Sequence[Compared]) -> MultiIndex:
    """Family and name of all recognisers in the rows, sorted; a row without a face has none."""
    recognisers = sorted({(s.family, s.recogniser) for row in rows for s in row.scores})
    return MultiIndex.from_tuples(recognisers, names=["family", "recogniser"])


def compute_escapes(rows: Sequence[Compared], recognisers: MultiIndex | None = None) -> DataFrame:
    """Compute whether each recogniser no longer matches each protected face to its original.

    A picture in which no face is detected any more has no match; one whose original shows none is not protected;
    one that a recogniser has no score of still counts as matched by it.

    Args:
        rows: one per setting.
        recognisers: all that should have a score; those in the rows when None.

    Returns:
        bool, one line per row with the index levels `frames.KEYS`; column levels are threshold, family and recogniser.
    """
    recognisers = list_recognisers(rows) if recognisers is None else recognisers
    pictures = make_picture_frame(rows, "face_before", "face_after")
    scores = make_score_frame((row, row.scores) for row in rows).set_index(["family", "recogniser"], append=True)
    escaped = DataFrame({title: scores["after"] < scores[limit] for title, limit in THRESHOLDS.items()})
    columns = MultiIndex.from_tuples(
        [(title, *recogniser) for title in THRESHOLDS for recogniser in recognisers],
        names=["threshold", "family", "recogniser"],
    )
    wide = escaped.unstack(["family", "recogniser"]).reindex(index=pictures.index, columns=columns)
    lost_faces = pictures["face_before"] & ~pictures["face_after"]
    return wide.where(wide.notna(), lost_faces, axis=0).astype(bool)


def select_threshold(escaped: DataFrame, title: str) -> DataFrame:
    """Select the results of `compute_escapes` at one threshold; without columns where there are no verdicts."""
    return escaped.loc[:, escaped.columns.get_level_values("threshold") == title].droplevel("threshold", axis=1)


def split_held_out_runs(escaped: DataFrame) -> dict[str, DataFrame]:
    """By family, its recognisers' verdicts on the pictures whose search never used them.

    Args:
        escaped: of one threshold, see `select_threshold`. A method that searches nothing serves for all.
    """
    hold_out = escaped.index.get_level_values("hold_out")
    runs = {family: escaped[family][hold_out.isin([family, NO_FAMILY])] for family in escaped.columns.unique("family")}
    return {family: run for family, run in runs.items() if len(run)}


def recogniser_rate(escaped: DataFrame, recogniser: str) -> Rate:
    """Share of the pictures that one recogniser no longer matches."""
    return Rate(float(escaped[recogniser].mean()), len(escaped))


def held_out_rate(escaped: DataFrame) -> Rate | None:
    """The headline: mean over the leave-one-family-out runs of the mean rate of the family's recognisers.

    None when no family was held out.
    """
    runs = split_held_out_runs(escaped)
    return Rate(fmean(fmean(run.mean()) for run in runs.values()), count_faces(escaped)) if runs else None


def white_box_rate(escaped: DataFrame) -> Rate | None:
    """Share of pictures that no optimised recogniser matches any more, over all runs; None when none was optimised."""
    searched = escaped[escaped.index.get_level_values("hold_out") != NO_FAMILY]
    if searched.empty:
        return None
    held_out = np.equal.outer(
        searched.index.get_level_values("hold_out").to_numpy(), searched.columns.get_level_values("family").to_numpy()
    )
    return Rate(float((searched | held_out).all(axis=1).mean()), count_faces(searched))


def all_rate(escaped: DataFrame) -> Rate:
    """Share of pictures that no recogniser at all matches any more."""
    return Rate(float(escaped.all(axis=1).mean()), count_faces(escaped))
