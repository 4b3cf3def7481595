"""The report's section on other photos of the person: matches lost, rank-1, the same photo, protected photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pandas import DataFrame

from benchmarks.data import person_of
from benchmarks.frames import make_pair_frame, make_picture_frame, make_search_frame, select
from benchmarks.metrics.other_photos import lost_matches, missed_originals, rank1_hits, rate, rate_over_families
from benchmarks.metrics.psr import Rate
from benchmarks.report.naturalness import make_natural_frame, write_form_table, write_natural_table
from benchmarks.report.tables import group_variants, number, table, thresholds, title_variant
from benchmarks.rows import OthersRow, ProtectedPairsRow, Role

ROLES: tuple[Role, ...] = ("held-out", "white-box")


@dataclass(frozen=True)
class Comparisons:
    """What was compared with each other, as the frames of `benchmarks.frames`.

    Attributes:
        pairs: protected photos and other photos of the person as they were.
        searches: for protected photos among photos of everybody, as they were.
        protected: pairs of protected photos of one person.
    """

    pairs: DataFrame
    searches: DataFrame
    protected: DataFrame

    def where(self, **values: str) -> Comparisons:
        """Those whose columns have these values."""

        def kept(frame: DataFrame) -> DataFrame:
            return frame[(frame[list(values)] == list(values.values())).all(axis=1)]

        return Comparisons(kept(self.pairs), kept(self.searches), kept(self.protected))

    def of_variant(self, key: tuple[str, float]) -> Comparisons:
        """Those of one variant and strength."""
        levels = {"variant": key[0], "strength": key[1]}
        return Comparisons(*(select(frame, **levels) for frame in (self.pairs, self.searches, self.protected)))


def compare_frames(rows: Sequence[OthersRow], protected: Sequence[ProtectedPairsRow]) -> Comparisons:
    """The frames of rows."""
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


def targets(rows: Sequence[OthersRow]) -> list[tuple[str, str, object]]:
    """Lines of figure, aim and what was measured; none of no rows."""
    if not rows:
        return []
    held_out, white_box = (compare_frames(rows, []).where(role=role) for role in ROLES)
    lost, found = "matches lost, FAR 1 %", "rank-1"
    return [
        ("other-photo matches lost, held out, FAR 1 %", "≥ 80 % (goal 95 %)", _over_families(held_out, lost)),
        ("other-photo matches lost, white-box, FAR 1 %", "≥ 97 %", _over_families(white_box, lost)),
        ("rank-1 among other photos, held out", "≤ 40 %", _over_families(held_out, found)),
    ]


def _over_families(comparisons: Comparisons, figure: str) -> Rate | None:
    return rate_over_families(_FIGURES[figure](comparisons))


def write_section(rows: Sequence[OthersRow], protected: Sequence[ProtectedPairsRow]) -> str:
    """Headline, each recogniser, naturalness and time, by method and strength."""
    if not rows:
        return "Not measured yet: `python -m benchmarks others`."
    everything = compare_frames(rows, protected)
    attributes = ("face_before", "face_after", "seconds", "strangers")
    lines, single, notes = [], [], []
    for key, pictures in group_variants(make_picture_frame(rows, *attributes)).items():
        own = everything.of_variant(key)
        for role in ROLES:
            rates = {title: _over_families(own.where(role=role), title) for title in _FIGURES}
            if any(rates.values()):
                lines.append(title_variant(key) | {"recognisers": role} | rates)
            # In the order in which rows name them.
            for (family, name), _ in own.searches.groupby(["family", "recogniser"], sort=False):
                compared = own.where(role=role, family=family, recogniser=name)
                if len(compared.searches):
                    single.append(title_variant(key) | _recogniser_cells(compared))
        notes.append(_note(key, pictures))
    natural = make_natural_frame(row.natural for row in rows)
    parts = [table(lines), "\n".join(notes), table(single), write_form_table(natural), write_natural_table(natural)]
    return "\n\n".join(part for part in parts if part)


def _recogniser_cells(compared: Comparisons) -> dict[str, object]:
    """The results of one recogniser in one role."""
    last, pairs = compared.searches.iloc[-1], compared.pairs
    return {
        "recogniser": last["recogniser"],
        "role": last["role"],
        "matched before, FAR 1 %": f"{(pairs['before'] >= pairs['far1']).sum()} of {len(pairs)}",
        **{title: rate(hits(compared)) for title, hits in _FIGURES.items()},
        "similarity before": number(pairs["before"].mean(), 3),
        "after": number(pairs["after"].mean(), 3),
        "thresholds": thresholds(last),
    }


def _note(key: tuple[str, float], pictures: DataFrame) -> str:
    faces = pictures.index.get_level_values("face")
    missed = faces[~pictures["face_before"]].nunique()
    lost = (pictures["face_before"] & ~pictures["face_after"]).sum()
    held = ", ".join(sorted(pictures.index.unique("hold_out")))
    seconds = pictures["seconds"]
    return (
        f"- {key[0]}, strength {key[1]:g}: {faces.nunique()} photos of {faces.map(person_of).nunique()} people,"
        f" {len(pictures)} pictures ({held} held out in turn), further strangers {pictures['strangers'].max()}; no face"
        f" in {missed} originals and in {lost} protected pictures; {seconds.mean():.1f} s a picture, median"
        f" {seconds.median():.1f}"
    )
