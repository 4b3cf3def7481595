"""Which family should be held out by default: the one whose answer, held out, goes along best with the others'.

A family that is easily fooled would make the figure that users see look good. So every family is held out in turn, and
its similarities, in its own spreads above its own FAR 1 % threshold, are correlated over photos with the mean of what
the other families say when they are the ones held out: who agrees with the others speaks for recognisers that nobody
asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy.stats import pearsonr, spearmanr

from benchmarks.rows import OthersRow, ProtectRow
from benchmarks.tables import by_variant, number, table

METHOD = "c2p"
# Of fewer photos a correlation is mostly chance.
FEWEST = 10
# Answers that differ by less, in spreads, are the same.
_SAME = 1e-6

Answers = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Agreement:
    """How one family, held out, agrees with the others.

    Attributes:
        photos: that all families have judged.
        pearson, spearman: correlation with the mean of the others; None where one of them says the same of all photos.
        answer: its mean, in spreads above its threshold: the lower, the easier it is to fool.
        others: mean of the others'.
    """

    photos: int
    pearson: float | None
    spearman: float | None
    answer: float
    others: float


def same_photo(rows: Iterable[ProtectRow], spreads: Mapping[str, float]) -> Answers:
    """Answers of held-out families by photo, about the photo's own original.

    Args:
        spreads: of each recogniser's similarities of strangers; those without one are not asked.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        for s in row.scores:
            if s.family == row.setting.hold_out and s.recogniser in spreads:
                above = (s.after - s.far1) / spreads[s.recogniser]
                found.setdefault(s.family, {}).setdefault(row.setting.face, []).append(above)
    return _means(found)


def other_photos(rows: Iterable[OthersRow], spreads: Mapping[str, float]) -> Answers:
    """The same about other photos of the person, as the mean over them."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        for s in row.scores:
            after = [value for _, value in s.others.values() if value is not None]
            if s.family == row.setting.hold_out and s.recogniser in spreads and after:
                above = (fmean(after) - s.far1) / spreads[s.recogniser]
                found.setdefault(s.family, {}).setdefault(row.setting.face, []).append(above)
    return _means(found)


def _means(found: Mapping[str, Mapping[str, Sequence[float]]]) -> Answers:
    return {family: {photo: fmean(values) for photo, values in by_photo.items()} for family, by_photo in found.items()}


def agreement(answers: Answers) -> dict[str, Agreement]:
    """Each family against the mean of all others, over the photos that all have judged; nothing of one family alone."""
    if len(answers) < 2:
        return {}
    photos = sorted(set.intersection(*(set(by_photo) for by_photo in answers.values())))
    if len(photos) < FEWEST:
        return {}
    found = {}
    for family, by_photo in answers.items():
        own = [by_photo[photo] for photo in photos]
        rest = [fmean(other[photo] for name, other in answers.items() if name != family) for photo in photos]
        constant = min(max(values) - min(values) for values in (own, rest)) < _SAME
        found[family] = Agreement(
            photos=len(photos),
            pearson=None if constant else float(pearsonr(own, rest).statistic),
            spearman=None if constant else float(spearmanr(own, rest).statistic),
            answer=fmean(own),
            others=fmean(rest),
        )
    return found


def choose(found: Mapping[str, Agreement]) -> str | None:
    """Whom to hold out: who goes along best with the others and is not the easiest to fool; None where nobody does."""
    if not found:
        return None
    easiest = min(found, key=lambda family: found[family].answer)
    known = {family: a.pearson for family, a in found.items() if a.pearson is not None and family != easiest}
    return max(known, key=lambda family: known[family], default=None)


def section(others: Sequence[OthersRow], protect: Sequence[ProtectRow], spreads: Mapping[str, float]) -> str:
    """A table by setting and kind of photo, and whom it would hold out; "" where fewer than two families were.

    Args:
        spreads: of each recogniser's similarities of strangers.
    """
    lines, notes = [], []
    kinds = [
        *((key, "other photos", other_photos(rows, spreads)) for key, rows in by_variant(others).items()),
        *(
            (key, "same photo", same_photo(rows, spreads))
            for key, rows in by_variant(protect).items()
            if rows[0].setting.method == METHOD
        ),
    ]
    for (variant, strength), kind, answers in kinds:
        title = f"{variant}, strength {strength:g}, {kind}"
        found = agreement(answers)
        for family, a in found.items():
            correlations = [number(a.pearson, 2), number(a.spearman, 2)]
            lines.append([title, family, a.photos, *correlations, number(a.answer, 2), number(a.others, 2)])
        if chosen := choose(found):
            easiest = min(found, key=lambda family: found[family].answer)
            notes.append(f"- {title}: {easiest} is the easiest to fool; of the rest {chosen} goes along best")
    if not lines:
        return ""
    words = (
        "Each family is held out in turn; over photos, its similarity to the person (in its own spreads of strangers"
        " above its FAR 1 % threshold) is correlated with the mean of the others' when they are held out, so that the"
        " default hold-out can be the one that speaks for the others, not the easiest."
    )
    head = ["rows", "family held out", "photos", "correlation with the others (Pearson)", "by ranks (Spearman)",
            "its answer, spreads above the threshold", "the others'"]  # fmt: skip
    return "\n\n".join([words, table(head, lines), "\n".join(notes)])
