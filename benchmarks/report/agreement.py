"""Which family should be held out by default: the one whose margins, held out, agree best with the others'.

A family that is easily fooled would flatter the figure that users see. So every family is held out in turn, and its
similarities, in its own standard deviations above its own FAR 1 % threshold, are correlated over photos with the mean
of the other families when they are held out: a family that agrees with the others represents recognisers that were
never measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pandas import DataFrame

from benchmarks.frames import make_pair_frame, make_score_frame, select
from benchmarks.methods.strengths import PRODUCT_METHOD
from benchmarks.report.tables import format_number, format_table, group_variants
from benchmarks.rows import OthersRow, ProtectRow

# With fewer photos, a correlation is mostly chance.
MIN_PHOTOS = 10
# Margins that differ by less, in standard deviations, are the same.
_TOLERANCE = 1e-6

_COLUMNS = {
    "pearson": "correlation with the others (Pearson)",
    "spearman": "by ranks (Spearman)",
    "margin": "its mean margin, impostor standard deviations above the threshold",
    "others": "the others'",
}


def compute_margins(scores: DataFrame, impostor_stds: Mapping[str, float]) -> DataFrame:
    """Margins of held-out families for each photo: impostor standard deviations above their FAR 1 % threshold.

    Args:
        scores: of one variant: with a photo's own original (`frames.make_score_frame`), or with other photos of the
            person (`frames.make_pair_frame`); averaged over these photos and over the family's recognisers.
        impostor_stds: by recogniser; recognisers without one are left out.

    Returns:
        One line per photo, one column per family.
    """
    held_out = scores[scores["recogniser"].isin(list(impostor_stds)) & scores["after"].notna()]
    held_out = held_out[held_out["family"] == held_out.index.get_level_values("hold_out")]
    margins = (held_out["after"] - held_out["far1"]) / held_out["recogniser"].map(impostor_stds).astype(float)
    by_recogniser = margins.groupby([held_out["family"], "face", held_out["recogniser"]], sort=False).mean()
    return by_recogniser.groupby(["family", "face"], sort=False).mean().unstack("family", sort=False)


def correlate(margins: DataFrame) -> DataFrame:
    """Each family against the mean of all others, over the photos that all have judged.

    Args:
        margins: one line per photo, one column per family.

    Returns:
        One line per family: ``photos`` that all have judged; ``pearson`` and ``spearman`` (NaN where one of the two is
        the same for all photos); the mean ``margin`` (the lower, the easier it is to fool) and that of the ``others``.
        No lines for fewer than two families or `MIN_PHOTOS` photos.
    """
    complete = margins.dropna()
    if complete.shape[1] < 2 or len(complete) < MIN_PHOTOS:
        return DataFrame(columns=["photos", *_COLUMNS])
    lines = {}
    for family in complete:
        margin, mean_of_others = complete[family], complete.drop(columns=family).mean(axis=1)
        is_constant = min(values.max() - values.min() for values in (margin, mean_of_others)) < _TOLERANCE
        lines[family] = {
            "photos": len(complete),
            **{
                kind: float("nan") if is_constant else margin.corr(mean_of_others, method=kind)
                for kind in ("pearson", "spearman")
            },
            "margin": margin.mean(),
            "others": mean_of_others.mean(),
        }
    return DataFrame.from_dict(lines, orient="index")


def choose_hold_out(agreement: DataFrame) -> str | None:
    """Choose the family that agrees best with the others and is not the easiest to fool; None if there is none."""
    if agreement.empty:
        return None
    correlations = agreement["pearson"].drop(agreement["margin"].idxmin()).dropna()
    return None if correlations.empty else str(correlations.idxmax())


def write_section(
    others: Sequence[OthersRow], protect: Iterable[ProtectRow], impostor_stds: Mapping[str, float]
) -> str:
    """A table by setting and kind of photo, and the family to hold out; "" for fewer than two families.

    Args:
        impostor_stds: of each recogniser's similarities over impostor pairs.
    """
    product_scores = select(make_score_frame((row, row.scores) for row in protect), method=PRODUCT_METHOD)
    lines, notes, unknown = [], [], set()
    for kind, scores in (("other photos", make_pair_frame(others)), ("same photo", product_scores)):
        for (variant, strength), group in group_variants(scores).items():
            unknown |= set(group["recogniser"]) - set(impostor_stds)
            title = f"{variant}, strength {strength:g}, {kind}"
            agreement = correlate(compute_margins(group, impostor_stds))
            lines += [
                {"rows": title, "family held out": family, "photos": int(line["photos"])}
                | {heading: format_number(line[name], 2) for name, heading in _COLUMNS.items()}
                for family, line in agreement.iterrows()
            ]
            if recommended := choose_hold_out(agreement):
                easiest = agreement["margin"].idxmin()
                notes.append(
                    f"- {title}: {easiest} is the easiest to fool; of the rest, {recommended} agrees best with the"
                    " others"
                )
    if not lines:
        return ""
    if unknown:
        notes.append(f"- left out, because no impostor pairs of theirs were measured: {', '.join(sorted(unknown))}")
    introduction = (
        "Each family is held out in turn; over photos, its margin (impostor standard deviations above its FAR 1 %"
        " threshold) is correlated with the mean of the others' when they are held out, so that the default hold-out"
        " can be the one that represents the others, not the easiest to fool."
    )
    return "\n\n".join([introduction, format_table(lines), "\n".join(notes)])
