"""The report's tables of protection and of running time."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pandas import DataFrame

from benchmarks.frames import count_faces, make_picture_frame, make_score_frame, select, select_largest
from benchmarks.methods.strengths import PRODUCT_METHOD
from benchmarks.metrics.psr import (
    FAR1,
    THRESHOLDS,
    all_rate,
    at_threshold,
    held_out_rate,
    held_out_runs,
    recogniser_rate,
    white_box_rate,
)
from benchmarks.report.naturalness import FIGURES
from benchmarks.report.tables import NOTHING, group_variants, number, table, thresholds, title_variant
from benchmarks.rows import ProtectRow
from c2p_core.api import DEFAULT_HOLD_OUT, PRIORS


def write_headline_table(protect: Sequence[ProtectRow], escaped: DataFrame) -> str:
    """Held-out and white-box rates of each variant.

    Args:
        escaped: of these rows, see `psr.escapes`.
    """
    lines = []
    for key, pictures in group_variants(make_picture_frame(protect, "face_before", "face_after")).items():
        own = escaped.loc[pictures.index]
        lost = (pictures["face_before"] & ~pictures["face_after"]).sum()
        lines.append(
            title_variant(key)
            | {"faces": count_faces(pictures), "judged by": ", ".join(held_out_runs(at_threshold(own, FAR1)))}
            | {f"held-out, {title}": held_out_rate(at_threshold(own, title)) for title in THRESHOLDS}
            | {f"white-box, {title}": white_box_rate(at_threshold(own, title)) for title in THRESHOLDS}
            | {"no face after": f"{lost} of {len(own)}", "no face before": (~pictures["face_before"]).sum()}
        )
    return table(lines)


def write_recogniser_table(protect: Sequence[ProtectRow], escaped: DataFrame, with_photos: Collection[str]) -> str:
    """Each recogniser's verdicts on the pictures whose search did not use its family.

    Args:
        escaped: of these rows.
        with_photos: recognisers whose thresholds strangers in real photos help to set; the others are named.
    """
    scores = make_score_frame((row, row.scores) for row in protect)
    lines = []
    for key, group in group_variants(escaped).items():
        runs = {title: held_out_runs(at_threshold(group, title)) for title in THRESHOLDS}
        for family, run in runs[FAR1].items():
            for name in run:
                own = scores.loc[scores.index.intersection(run.index)]
                own = own[own["recogniser"] == name]
                rates = {title: recogniser_rate(runs[title][family], name) for title in THRESHOLDS}
                lines.append(
                    title_variant(key)
                    | {"family left out": family, "recogniser": name}
                    | rates
                    | {"similarity before": number(own["before"].mean(), 3), "after": number(own["after"].mean(), 3)}
                    | {"thresholds": thresholds(own.iloc[0]) if len(own) else NOTHING}
                )
    unknown = ", ".join(sorted({str(line["recogniser"]) for line in lines} - set(with_photos)))
    note = (
        f"\n\nThe thresholds of {unknown} were set without strangers in real photos: they may be too high, and make"
        " protection look better than it is."
    )
    return table(lines) + (note if unknown else "")


def write_default_table(escaped: DataFrame, strength: float) -> str:
    """Rates with the family that the program holds out by default; "" where it was not measured."""
    lines = []
    for prior in PRIORS:
        own = select(select_largest(select(escaped, prior=prior), PRODUCT_METHOD, strength), hold_out=DEFAULT_HOLD_OUT)
        lines += [
            {
                "prior": prior,
                "threshold": title,
                f"{DEFAULT_HOLD_OUT}, held out, no longer matches": held_out_rate(at_threshold(own, title)),
                "no optimised one matches any more": white_box_rate(at_threshold(own, title)),
                "none matches any more": all_rate(at_threshold(own, title)),
            }
            for title in (THRESHOLDS if len(own) else ())
        ]
    return table(lines)


def write_time_table(protect: Sequence[ProtectRow]) -> str:
    """Seconds, steps and memory of the runs that took any time."""
    return table(
        title_variant(key)
        | {
            "pictures": len(group),
            "mean, s": f"{group['seconds'].mean():.1f}",
            "median": f"{group['seconds'].median():.1f}",
            "95th percentile": f"{group['seconds'].quantile(0.95, interpolation='higher'):.1f}",
            "steps": f"{group['steps'].mean():.0f}",
            "peak MiB of a worker": f"{group['peak_mib'].max():.0f}",
        }
        for key, group in group_variants(make_picture_frame(protect, "seconds", "steps", "peak_mib")).items()
        if group["seconds"].any()
    )


def list_worst_faces(natural: DataFrame, escaped: DataFrame, strength: float) -> str:
    """The faces to look at first: most visible in four figures, and those still matched."""
    main = select(natural, method=PRODUCT_METHOD, strength=strength)
    lines = []
    for (variant, _), group in group_variants(main).items():
        for figure in ("psnr", "eye_shift", "skin_de_mean", "patch_skin"):
            worst = group[figure].dropna().sort_values(ascending=figure == "psnr", kind="stable").head(5)
            listed = worst.reset_index(["face", "hold_out"]).itertuples(index=False)
            named = ", ".join(f"{face} ({value:.2f}, {hold_out})" for face, hold_out, value in listed)
            lines.append(f"- {variant} {strength:g}, {FIGURES[figure][0]}: {named}")
        own = select(escaped, variant=variant, strength=strength)
        for family, run in held_out_runs(at_threshold(own, FAR1)).items():
            matched = run.index[~run.all(axis=1)].get_level_values("face")
            lines.append(f"- {variant} {strength:g}, still matched by {family}: {', '.join(matched) or 'none'}")
    return "\n".join(lines)
