"""The report's section on other photos of the person: matches lost, rank-1, originals missed, both photos protected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pandas import DataFrame

from benchmarks.data import parse_person
from benchmarks.frames import make_pair_frame, make_picture_frame, make_search_frame, select
from benchmarks.metrics.other_photos import lost_matches, missed_originals, rank1_hits, rate, rate_over_families
from benchmarks.metrics.psr import Rate
from benchmarks.report.naturalness import make_natural_frame, write_form_table, write_natural_table
from benchmarks.report.tables import format_number, format_table, format_thresholds, group_variants, title_variant
from benchmarks.rows import OthersRow, ProtectedPairsRow, Role

ROLES: tuple[Role, ...] = ("held-out", "white-box")


@dataclass(frozen=True)
class Comparisons:
    """Comparisons of photos, as the frames of `benchmarks.frames`.

    Attributes:
        pairs: protected photos and other, unprotected photos of the person.
        searches: for protected photos among unprotected photos of everybody.
        protected: pairs of protected photos of one person.
    """

    pairs: DataFrame
    searches: DataFrame
    protected: DataFrame

    def filter(self, **values: str) -> Comparisons:
        """Keep the lines whose columns have these values."""

        def filter_frame(frame: DataFrame) -> DataFrame:
            return frame[(frame[list(values)] == list(values.values())).all(axis=1)]

        return Comparisons(filter_frame(self.pairs), filter_frame(self.searches), filter_frame(self.protected))

    def select_variant(self, key: tuple[str, float]) -> Comparisons:
        """Select the lines of one variant and strength."""
        levels = {"variant": key[0], "strength": key[1]}
        return Comparisons(*(select(frame, **levels) for frame in (self.pairs, self.searches, self.protected)))


def make_comparisons(rows: Sequence[OthersRow], protected: Sequence[ProtectedPairsRow]) -> Comparisons:
    """Make the frames from rows."""
    return Comparisons(make_pair_frame(rows), make_search_frame(rows), make_pair_frame(protected))


# Hits (see `benchmarks.metrics.other_photos`) by heading.
_FIGURES: dict[str, Callable[[Comparisons], DataFrame]] = {
    "matches lost, FAR 1 %": lambda c: lost_matches(c.pairs, "far1"),
    "matches lost, FAR 0.1 %": lambda c: lost_matches(c.pairs, "far01"),
    "rank-1 before": lambda c: rank1_hits(c.searches, protected=False, strangers=False),
    "rank-1": lambda c: rank1_hits(c.searches, protected=True, strangers=False),
    "before, with strangers": lambda c: rank1_hits(c.searches, protected=False, strangers=True),
    "rank-1 with strangers": lambda c: rank1_hits(c.searches, protected=True, strangers=True),
    "same photo missed, FAR 1 %": lambda c: missed_originals(c.searches, "far1"),
    "same photo missed, FAR 0.1 %": lambda c: missed_originals(c.searches, "far01"),
    "both protected: matches lost, FAR 1 %": lambda c: lost_matches(c.protected, "far1"),
    "both protected: matches lost, FAR 0.1 %": lambda c: lost_matches(c.protected, "far01"),
}


def list_targets(rows: Sequence[OthersRow]) -> list[tuple[str, str, object]]:
    """List lines of figure, target and measured value; none without rows."""
    if not rows:
        return []
    held_out, white_box = (make_comparisons(rows, []).filter(role=role) for role in ROLES)
    lost, rank_1 = "matches lost, FAR 1 %", "rank-1"
    return [
        ("other-photo matches lost, held out, FAR 1 %", "≥ 80 % (goal 95 %)", _compute_rate(held_out, lost)),
        ("other-photo matches lost, white-box, FAR 1 %", "≥ 97 %", _compute_rate(white_box, lost)),
        ("rank-1 among other photos, held out", "≤ 40 %", _compute_rate(held_out, rank_1)),
    ]


def _compute_rate(comparisons: Comparisons, figure: str) -> Rate | None:
    return rate_over_families(_FIGURES[figure](comparisons))


def write_section(rows: Sequence[OthersRow], protected: Sequence[ProtectedPairsRow]) -> str:
    """Headline, each recogniser, naturalness and time, by method and strength."""
    if not rows:
        return "Not measured yet: `python -m benchmarks others`."
    all_comparisons = make_comparisons(rows, protected)
    attributes = ("face_before", "face_after", "seconds", "strangers")
    lines, recogniser_lines, notes = [], [], []
    for key, pictures in group_variants(make_picture_frame(rows, *attributes)).items():
        comparisons = all_comparisons.select_variant(key)
        for role in ROLES:
            rates = {title: _compute_rate(comparisons.filter(role=role), title) for title in _FIGURES}
            if any(rates.values()):
                lines.append(title_variant(key) | {"recognisers": role} | rates)
            # In the order of the rows.
            for (family, name), _ in comparisons.searches.groupby(["family", "recogniser"], sort=False):
                recogniser_comparisons = comparisons.filter(role=role, family=family, recogniser=name)
                if len(recogniser_comparisons.searches):
                    recogniser_lines.append(title_variant(key) | _make_recogniser_cells(recogniser_comparisons))
        notes.append(_write_note(key, pictures))
    natural = make_natural_frame(row.natural for row in rows)
    parts = [
        format_table(lines),
        "\n".join(notes),
        format_table(recogniser_lines),
        write_form_table(natural),
        write_natural_table(natural),
    ]
    return "\n\n".join(part for part in parts if part)


def _make_recogniser_cells(comparisons: Comparisons) -> dict[str, object]:
    """The results of one recogniser in one role."""
    last, pairs = comparisons.searches.iloc[-1], comparisons.pairs
    return {
        "recogniser": last["recogniser"],
        "role": last["role"],
        "matched before, FAR 1 %": f"{(pairs['before'] >= pairs['far1']).sum()} of {len(pairs)}",
        **{title: rate(hits(comparisons)) for title, hits in _FIGURES.items()},
        "similarity before": format_number(pairs["before"].mean(), 3),
        "after": format_number(pairs["after"].mean(), 3),
        "thresholds": format_thresholds(last),
    }


def _write_note(key: tuple[str, float], pictures: DataFrame) -> str:
    faces = pictures.index.get_level_values("face")
    missed = faces[~pictures["face_before"]].nunique()
    lost = (pictures["face_before"] & ~pictures["face_after"]).sum()
    families = ", ".join(sorted(pictures.index.unique("hold_out")))
    seconds = pictures["seconds"]
    return (
        f"- {key[0]}, strength {key[1]:g}: {faces.nunique()} photos of {faces.map(parse_person).nunique()} people,"
        f" {len(pictures)} pictures ({families} held out in turn), further strangers {pictures['strangers'].max()}; no"
        f" face in {missed} originals and in {lost} protected pictures; {seconds.mean():.1f} s a picture, median"
        f" {seconds.median():.1f}"
    )
