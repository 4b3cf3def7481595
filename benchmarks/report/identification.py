"""Protection against a search: other photos of the person, a gallery, a decoy, recognisers from outside."""

from __future__ import annotations

from collections.abc import Sequence

from pandas import DataFrame

from benchmarks.frames import make_picture_frame, make_score_frame, select
from benchmarks.metrics.psr import (
    FAR1,
    THRESHOLDS,
    Rate,
    compute_escapes,
    recogniser_rate,
    select_threshold,
    split_held_out_runs,
)
from benchmarks.report.tables import format_number, format_table, format_thresholds, group_variants, title_variant
from benchmarks.rows import ExtraRow, PairRow, ProtectRow

NOT_MEASURED = "Not measured yet: `python -m benchmarks run --suite protect`."


def write_pairs_section(pairs: Sequence[PairRow]) -> str:
    """Each recogniser, held out and optimised against, on other photos of the same person, at both thresholds."""
    if not pairs:
        return "Not measured yet, or the photos were not available: `python -m benchmarks run --suite protect`."
    lines = []
    pair_scores = make_score_frame((row, photo_scores) for row in pairs for photo_scores in row.others.values())
    for key, group in group_variants(pair_scores).items():
        for (name, role), scores in group.groupby(["recogniser", "role"]):
            rates: dict[str, object] = {}
            for title, limit in THRESHOLDS.items():
                matched = scores[scores["before"] >= scores[limit]]
                missed = matched["after"] < matched[limit]
                rates[f"matched before, {title}"] = f"{len(matched)} of {len(scores)}"
                rates[f"of these no longer matched, {title}"] = (
                    Rate(missed.mean(), len(matched)) if len(matched) else None
                )
            lines.append(
                title_variant(key) | {"recogniser": name, "role": role} | rates | _make_similarity_cells(scores)
            )
    lost = sum(not row.others for row in pairs)
    return format_table(lines) + (f"\n\n{lost} protected pictures showed no face." if lost else "")


def _make_similarity_cells(scores: DataFrame, before: str = "before", after: str = "after") -> dict[str, object]:
    """The last cells of a line about one recogniser."""
    return {
        "similarity before": format_number(scores[before].mean(), 3),
        "after": format_number(scores[after].mean(), 3),
        "thresholds": format_thresholds(scores.iloc[0]),
    }


def write_identification_section(protect: Sequence[ProtectRow], escaped: DataFrame) -> str:
    """How often a search with the protected photo does not find the person's own at rank 1, or within rank 5.

    Args:
        escaped: of these rows.
    """
    pictures = make_picture_frame(protect, "gallery", "face_before", "face_after")
    ranks = make_score_frame((row, row.scores) for row in protect).set_index("recogniser", append=True)["rank"]
    searched = pictures[(pictures["gallery"] > 0) | (pictures["face_before"] & ~pictures["face_after"])]
    lines = []
    for key, group in group_variants(searched).items():
        if not group["gallery"].any():
            continue
        for run in split_held_out_runs(select_threshold(escaped.loc[group.index], FAR1)).values():
            for name in run:
                # A face that is not detected, or has no score, has no rank: it is not identified.
                run_ranks = ranks.xs(name, level="recogniser").reindex(run.index).astype(float)
                misses = {
                    f: Rate((~(run_ranks <= place)).mean(), len(run_ranks)) for f, place in (("first", 1), ("fifth", 5))
                }
                people = group["gallery"].loc[run.index].max()
                lines.append(
                    title_variant(key)
                    | {"recogniser, held out": name, "other people": people}
                    | {"not at rank 1": misses["first"], "not within rank 5": misses["fifth"]}
                )
    return format_table(lines) or NOT_MEASURED


def write_decoy_section(protect: Sequence[ProtectRow]) -> str:
    """Impersonation: how often the protected face matches the decoy that the search aimed at."""
    scores = make_score_frame((row, row.scores) for row in protect)
    with_decoys = {key: group for key, group in group_variants(scores).items() if group["decoy"].notna().any()}
    lines = []
    for key, group in with_decoys.items():
        for (_, name, role), recogniser_scores in group.groupby(["family", "recogniser", "role"]):
            with_decoy = recogniser_scores[recogniser_scores["decoy"].notna()]
            rates = {
                f"taken for the decoy, {title}": Rate((with_decoy["decoy"] > with_decoy[limit]).mean(), len(with_decoy))
                if len(with_decoy)
                else None
                for title, limit in THRESHOLDS.items()
            }
            similarities = _make_similarity_cells(
                with_decoy if len(with_decoy) else recogniser_scores, "decoy_before", "decoy"
            )
            if with_decoy.empty:
                similarities["thresholds"] = "no decoy known"
            lines.append(title_variant(key) | {"recogniser": name, "role": role} | rates | similarities)
    return format_table(lines) or NOT_MEASURED


def write_extra_section(extra: Sequence[ExtraRow]) -> str:
    """Verdicts of recognisers from outside, which never took part in any search; "" without any."""
    lines = []
    for source in dict.fromkeys(row.source for row in extra):
        source_rows = {row.setting: row for row in extra if row.source == source}.values()
        scores = make_score_frame((row, row.scores) for row in source_rows)
        for key, escaped in group_variants(compute_escapes(list(source_rows))).items():
            group, by_recogniser = select(scores, variant=key[0], strength=key[1]), escaped.droplevel("family", axis=1)
            for name in dict.fromkeys(group["recogniser"]):
                rates = {title: recogniser_rate(by_recogniser[title], name) for title in THRESHOLDS}
                after = group["after"][group["recogniser"] == name].mean()
                lines.append(
                    title_variant(key)
                    | {"recogniser": f"{name} ({source})", "pictures": len(escaped)}
                    | rates
                    | {"similarity after": format_number(after, 3)}
                )
    return format_table(lines)
