"""The papers' measures: success of impersonation and of dodging, and places in a search.

Each gives hits as `benchmarks.metrics.other_photos` does: a frame with the columns ``family``, ``recogniser`` and
``hit``, a line a photo or a pair.
"""

from __future__ import annotations

from pandas import DataFrame


def taken_for_target(searches: DataFrame, limit: str, when: str = "after") -> DataFrame:
    """Impersonation: which photos match the target; one without a face matches nobody.

    Args:
        searches: of `frames.make_identification_frame`.
        limit: column of the threshold.
        when: "after" or "before" protection.
    """
    aimed = searches[searches["target_before"].notna()]
    return aimed.assign(hit=aimed[f"target_{when}"] >= aimed[limit])


def dodged_pairs(pairs: DataFrame, limit: str, when: str = "after") -> DataFrame:
    """Dodging: which other photos of the person don't match, whether they did before or not.

    Args:
        pairs: of `frames.make_pair_frame`.
        limit: column of the threshold.
        when: "after" or "before" protection.
    """
    return pairs.assign(hit=~(pairs[when] >= pairs[limit]))


def among_first(searches: DataFrame, who: str, places: int, when: str = "after") -> DataFrame:
    """Which photos find the person, or the target, among the first so many people.

    Args:
        searches: of `frames.make_identification_frame`.
        who: "person" or "target".
        when: "after" or "before" protection.
    """
    known = searches[searches[f"{who}_rank_before"].notna()]
    return known.assign(hit=known[f"{who}_rank_{when}"] <= places)


def missed_by_first(searches: DataFrame, places: int, when: str = "after") -> DataFrame:
    """Which photos do not find the person among the first so many people; one without a face finds nobody."""
    found = among_first(searches, "person", places, when)
    return found.assign(hit=~found["hit"])
