"""The report's section on other photos of the person: matches lost, rank-1, the same photo, protected photos.

Recognisers of a family are averaged first, then families, so that a family with two recognisers does not count twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import fmean, median

from benchmarks.data import person_of
from benchmarks.natural import form_table, natural_table
from benchmarks.rates import THRESHOLDS, Names, Rate, Threshold
from benchmarks.rows import OtherScore, OthersRow, ProtectedPairsRow, Role
from benchmarks.tables import Key, by_variant, mean, number, table

ROLES: tuple[Role, ...] = ("held-out", "white-box")

Measured = OthersRow | ProtectedPairsRow


# One recogniser's scores of all photos for which it had one role, each with the number of its photo.
Asked = Sequence[tuple[str, OtherScore]]


def asked(rows: Iterable[Measured], recogniser: str, role: Role) -> Asked:
    """What one recogniser said in one role."""
    return [(row.setting.face, s) for row in rows for s in row.scores if (s.recogniser, s.role) == (recogniser, role)]


def _share(hits: Iterable[tuple[str, bool]]) -> Rate | None:
    """Share of what is true; what is said of one photo hangs together, so each photo counts once in the interval."""
    found = list(hits)
    return Rate(fmean(hit for _, hit in found), len({photo for photo, _ in found})) if found else None


def matched_pairs(of: Asked, threshold: Threshold) -> tuple[int, int]:
    """How many pairs match before protection, and how many there are."""
    pairs = [before >= threshold(s) for _, s in of for before, _ in s.others.values()]
    return sum(pairs), len(pairs)


def matches_lost(of: Asked, threshold: Threshold) -> Rate | None:
    """Of the pairs that match before, the share that no longer do; a photo without a face matches nothing."""
    return _share(
        (photo, after is None or after < threshold(s))
        for photo, s in of
        for before, after in s.others.values()
        if before >= threshold(s)
    )


def own_missed(of: Asked, threshold: Threshold) -> Rate | None:
    """Share of the photos that no longer match their own original."""
    return _share((photo, s.own is None or s.own < threshold(s)) for photo, s in of)


def rank1(of: Asked, *, protected: bool, strangers: bool) -> Rate | None:
    """Share of the photos whose nearest neighbour, their own original left out, is of the same person.

    Args:
        protected: of the protected photos, else of the originals.
        strangers: further strangers are in the gallery too; photos that were measured without any are left out.
    """

    when = 1 if protected else 0

    def found(s: OtherScore) -> bool:
        own = [similarity for pair in s.others.values() if (similarity := pair[when]) is not None]
        rivals = [pair for pair in (s.nearest, s.stranger if strangers else None) if pair is not None]
        # Without a face nobody is found. A tie finds the other person.
        return bool(own) and max(own) > max(
            (rival for pair in rivals if (rival := pair[when]) is not None), default=-1.0
        )

    return _share(
        (photo, found(s)) for photo, s in of if s.others and (s.stranger if strangers else s.nearest) is not None
    )


def over_families(measure: Callable[[Asked], Rate | None], rows: Sequence[Measured], role: Role) -> Rate | None:
    """Mean over families of the mean over a family's recognisers; None where nothing could be said.

    The interval counts the photos of the recogniser that had the most of them to judge.
    """
    rates = {
        family: [rate for name in members if (rate := measure(asked(rows, name, role))) is not None]
        for family, members in families(rows).items()
    }
    known = {family: found for family, found in rates.items() if found}
    if not known:
        return None
    count = max(rate.count for found in known.values() for rate in found)
    return Rate(fmean(fmean(rate.value for rate in found) for found in known.values()), count)


def families(rows: Iterable[Measured]) -> Names:
    """Recognisers by family, as the rows name them."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        for score in row.scores:
            found.setdefault(score.family, {})[score.recogniser] = None
    return {family: tuple(names) for family, names in found.items()}


# What is measured of the rows of protected photos beside the others as they were.
_FIGURES: dict[str, Callable[[Asked], Rate | None]] = {
    **{f"matches lost, {title}": partial(matches_lost, threshold=limit) for title, limit in THRESHOLDS.items()},
    "rank-1 before": partial(rank1, protected=False, strangers=False),
    "rank-1": partial(rank1, protected=True, strangers=False),
    "before, with strangers": partial(rank1, protected=False, strangers=True),
    "rank-1 with strangers": partial(rank1, protected=True, strangers=True),
    **{f"same photo missed, {title}": partial(own_missed, threshold=limit) for title, limit in THRESHOLDS.items()},
}
# The same of two protected photos.
_BOTH: dict[str, Callable[[Asked], Rate | None]] = {
    f"both protected: matches lost, {title}": partial(matches_lost, threshold=limit)
    for title, limit in THRESHOLDS.items()
}


def targets(rows: Sequence[OthersRow]) -> list[list[object]]:
    """Lines of figure, aim and what was measured; none of no rows."""
    if not rows:
        return []
    far1 = THRESHOLDS["FAR 1 %"]
    lost = [over_families(partial(matches_lost, threshold=far1), rows, role) for role in ROLES]
    found = over_families(partial(rank1, protected=True, strangers=False), rows, "held-out")
    return [
        ["other-photo matches lost, held out, FAR 1 %", "≥ 80 % (goal 95 %)", lost[0] or "–"],
        ["other-photo matches lost, white-box, FAR 1 %", "≥ 97 %", lost[1] or "–"],
        ["rank-1 among other photos, held out", "≤ 40 %", found or "–"],
    ]


def section(rows: Sequence[OthersRow], protected: Sequence[ProtectedPairsRow]) -> str:
    """Headline, each recogniser, naturalness and time, by method and strength."""
    if not rows:
        return "Not measured yet: `python -m benchmarks others`."
    groups, both = by_variant(rows), by_variant(protected)
    head = ["method", "strength", "recognisers"]
    figures = [*_FIGURES, *_BOTH]
    lines, single, notes = [], [], []
    for key, group in groups.items():
        pairs = both.get(key, [])
        for role in ROLES:
            rates = [over_families(measure, group, role) for measure in _FIGURES.values()]
            rates += [over_families(measure, pairs, role) for measure in _BOTH.values()]
            if any(rates):
                lines.append([*_named(key), role, *(rate or "–" for rate in rates)])
            single += [
                line for names in families(group).values() for n in names for line in _of(key, n, role, group, pairs)
            ]
        notes.append(_note(key, group))
    natural = {key: [row.natural for row in group] for key, group in groups.items()}
    parts = [
        table([*head, *figures], lines),
        "\n".join(notes),
        table(["method", "strength", "recogniser", "role", "matched before, FAR 1 %", *figures, "similarity before",
               "after", "thresholds"], single),
        form_table(natural),
        natural_table(natural),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def _named(key: Key) -> list[object]:
    return [key[0], f"{key[1]:g}"]


def _of(
    key: Key, name: str, role: Role, group: Sequence[OthersRow], pairs: Sequence[ProtectedPairsRow]
) -> list[list[object]]:
    """The line of one recogniser in one role; none where it never had it."""
    own, both = asked(group, name, role), asked(pairs, name, role)
    if not own:
        return []
    rates = [measure(own) for measure in _FIGURES.values()] + [measure(both) for measure in _BOTH.values()]
    matched, count = matched_pairs(own, THRESHOLDS["FAR 1 %"])
    similar = [pair for _, s in own for pair in s.others.values()]
    means = [number(mean(pair[when] for pair in similar), 3) for when in (0, 1)]
    last = own[-1][1]
    limits = f"{last.far1:.3f} / {last.far01:.3f}"
    return [[*_named(key), name, role, f"{matched} of {count}", *(rate or "–" for rate in rates), *means, limits]]


def _note(key: Key, group: Sequence[OthersRow]) -> str:
    photos = {row.setting.face for row in group}
    people = {person_of(face) for face in photos}
    seconds = [row.seconds for row in group]
    lost = sum(row.face_before and not row.face_after for row in group)
    missed = len({row.setting.face for row in group if not row.face_before})
    held = ", ".join(sorted({row.setting.hold_out for row in group}))
    return (
        f"- {key[0]}, strength {key[1]:g}: {len(photos)} photos of {len(people)} people, {len(group)} pictures"
        f" ({held} held out in turn), further strangers {max(row.strangers for row in group)}; no face in {missed}"
        f" originals and in {lost} protected pictures; {fmean(seconds):.1f} s a picture, median {median(seconds):.1f}"
    )
