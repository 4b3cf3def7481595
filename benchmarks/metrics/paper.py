"""The papers' measures: success of impersonation and of dodging, and ranks in a search.

Each gives hits as `benchmarks.metrics.other_photos` does: a frame with the columns ``family``, ``recogniser`` and
``hit``, one line per photo or pair.
"""

from __future__ import annotations

from pandas import DataFrame


def target_matches(searches: DataFrame, limit: str, when: str = "after") -> DataFrame:
    """Impersonation: which photos match the target; one without a face matches nobody.

    Args:
        searches: of `frames.make_identification_frame`.
        limit: column of the threshold.
        when: "after" or "before" protection.
    """
    targeted = searches[searches["target_before"].notna()]
    return targeted.assign(hit=targeted[f"target_{when}"] >= targeted[limit])


def dodged_pairs(pairs: DataFrame, limit: str, when: str = "after") -> DataFrame:
    """Dodging: which other photos of the person don't match, whether they did before or not.

    Args:
        pairs: of `frames.make_pair_frame`.
        limit: column of the threshold.
        when: "after" or "before" protection.
    """
    return pairs.assign(hit=~(pairs[when] >= pairs[limit]))


def rank_k_hits(searches: DataFrame, who: str, k: int, when: str = "after") -> DataFrame:
    """Which photos find the person, or the target, among the ``k`` most similar people.

    Args:
        searches: of `frames.make_identification_frame`.
        who: "person" or "target".
        when: "after" or "before" protection.
    """
    ranked = searches[searches[f"{who}_rank_before"].notna()]
    return ranked.assign(hit=ranked[f"{who}_rank_{when}"] <= k)


def rank_k_misses(searches: DataFrame, k: int, when: str = "after") -> DataFrame:
    """Which photos do not find the person among the ``k`` most similar people; one without a face finds nobody."""
    hits = rank_k_hits(searches, "person", k, when)
    return hits.assign(hit=~hits["hit"])
