"""Protected photos beside other photos of the person: matches lost, rank-1, the same photo.

Each measure gives hits: a frame with the columns ``family``, ``recogniser`` and ``hit``, one line per pair or photo.
"""

from __future__ import annotations

from statistics import fmean

from pandas import DataFrame

from benchmarks.frames import count_faces
from benchmarks.metrics.psr import Rate


def lost_matches(pairs: DataFrame, limit: str) -> DataFrame:
    """Which of the pairs that match before protection no longer do; a photo without a face matches nothing.

    Args:
        pairs: of `frames.make_pair_frame`.
        limit: column of the threshold.
    """
    matched = pairs[pairs["before"] >= pairs[limit]]
    return matched.assign(hit=~(matched["after"] >= matched[limit]))


def missed_originals(searches: DataFrame, limit: str) -> DataFrame:
    """Which photos no longer match their own original.

    Args:
        searches: of `frames.make_search_frame`.
        limit: column of the threshold.
    """
    return searches.assign(hit=~(searches["own"] >= searches[limit]))


def rank1_hits(searches: DataFrame, *, protected: bool, strangers: bool) -> DataFrame:
    """Which photos have a photo of the same person as nearest neighbour, their own original left out.

    Args:
        searches: of `frames.make_search_frame`.
        protected: of the protected photos, else of the originals.
        strangers: further strangers are in the gallery too; photos that were measured without any are left out.
    """
    moment = "after" if protected else "before"
    rivals = ["nearest", "stranger"] if strangers else ["nearest"]
    comparable = searches[searches["mate_before"].notna() & searches[f"{rivals[-1]}_before"].notna()]
    best_rival = comparable[[f"{rival}_{moment}" for rival in rivals]].max(axis=1).fillna(-1.0)
    # Without a face there is no neighbour. In a tie, the other person is the nearest.
    return comparable.assign(hit=comparable[f"mate_{moment}"] > best_rival)


def rate(hits: DataFrame) -> Rate | None:
    """Share of hits; the verdicts on one photo are correlated, so each photo counts once in the interval."""
    return None if hits.empty else Rate(float(hits["hit"].mean()), count_faces(hits))


def rate_over_families(hits: DataFrame) -> Rate | None:
    """Mean over families of the mean over a family's recognisers, so that one with two does not count twice.

    The interval counts the photos of the recogniser that judged the most.
    """
    if hits.empty:
        return None
    by_recogniser = hits.groupby(["family", "recogniser"])
    count = max(count_faces(recogniser_hits) for _, recogniser_hits in by_recogniser)
    return Rate(fmean(by_recogniser["hit"].mean().groupby(level="family").agg(fmean)), count)
