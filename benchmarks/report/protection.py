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
    held_out_rate,
    recogniser_rate,
    select_threshold,
    split_held_out_runs,
    white_box_rate,
)
from benchmarks.report.naturalness import FIGURES
from benchmarks.report.tables import (
    NOTHING,
    format_number,
    format_table,
    format_thresholds,
    group_variants,
    title_variant,
)
from benchmarks.rows import ProtectRow
from c2p_core.api import DEFAULT_HOLD_OUT, PRIORS


def write_headline_table(protect: Sequence[ProtectRow], escaped: DataFrame) -> str:
    """Held-out and white-box rates of each variant.

    Args:
        escaped: of these rows, see `psr.compute_escapes`.
    """
    lines = []
    for key, pictures in group_variants(make_picture_frame(protect, "face_before", "face_after")).items():
        variant_escapes = escaped.loc[pictures.index]
        lost = (pictures["face_before"] & ~pictures["face_after"]).sum()
        lines.append(
            title_variant(key)
            | {
                "faces": count_faces(pictures),
                "judged by": ", ".join(split_held_out_runs(select_threshold(variant_escapes, FAR1))),
            }
            | {f"held-out, {title}": held_out_rate(select_threshold(variant_escapes, title)) for title in THRESHOLDS}
            | {f"white-box, {title}": white_box_rate(select_threshold(variant_escapes, title)) for title in THRESHOLDS}
            | {"no face after": f"{lost} of {len(variant_escapes)}", "no face before": (~pictures["face_before"]).sum()}
        )
    return format_table(lines)


def write_recogniser_table(protect: Sequence[ProtectRow], escaped: DataFrame, with_photos: Collection[str]) -> str:
    """Each recogniser's verdicts on the pictures whose search did not use its family.

    Args:
        escaped: of these rows.
        with_photos: recognisers whose thresholds also rely on strangers in real photos; the others are listed.
    """
    scores = make_score_frame((row, row.scores) for row in protect)
    lines = []
    for key, group in group_variants(escaped).items():
        runs = {title: split_held_out_runs(select_threshold(group, title)) for title in THRESHOLDS}
        for family, run in runs[FAR1].items():
            for name in run:
                recogniser_scores = scores.loc[scores.index.intersection(run.index)]
                recogniser_scores = recogniser_scores[recogniser_scores["recogniser"] == name]
                rates = {title: recogniser_rate(runs[title][family], name) for title in THRESHOLDS}
                lines.append(
                    title_variant(key)
                    | {"family left out": family, "recogniser": name}
                    | rates
                    | {
                        "similarity before": format_number(recogniser_scores["before"].mean(), 3),
                        "after": format_number(recogniser_scores["after"].mean(), 3),
                    }
                    | {
                        "thresholds": format_thresholds(recogniser_scores.iloc[0])
                        if len(recogniser_scores)
                        else NOTHING
                    }
                )
    unknown = ", ".join(sorted({str(line["recogniser"]) for line in lines} - set(with_photos)))
    note = (
        f"\n\nThe thresholds of {unknown} were set without strangers in real photos: they may be too high, and make"
        " protection look better than it is."
    )
    return format_table(lines) + (note if unknown else "")


def write_default_table(escaped: DataFrame, strength: float) -> str:
    """Rates with the family held out by default; "" where it was not measured."""
    lines = []
    for prior in PRIORS:
        default_escapes = select(
            select_largest(select(escaped, prior=prior), PRODUCT_METHOD, strength), hold_out=DEFAULT_HOLD_OUT
        )
        lines += [
            {
                "prior": prior,
                "threshold": title,
                f"{DEFAULT_HOLD_OUT}, held out, no longer matches": held_out_rate(
                    select_threshold(default_escapes, title)
                ),
                "no optimised one matches any more": white_box_rate(select_threshold(default_escapes, title)),
                "none matches any more": all_rate(select_threshold(default_escapes, title)),
            }
            for title in (THRESHOLDS if len(default_escapes) else ())
        ]
    return format_table(lines)


def write_time_table(protect: Sequence[ProtectRow]) -> str:
    """Seconds, steps and memory of the runs that took any time."""
    return format_table(
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
    product = select(natural, method=PRODUCT_METHOD, strength=strength)
    lines = []
    for (variant, _), group in group_variants(product).items():
        for figure in ("psnr", "eye_shift", "skin_de_mean", "patch_skin"):
            worst = group[figure].dropna().sort_values(ascending=figure == "psnr", kind="stable").head(5)
            worst_rows = worst.reset_index(["face", "hold_out"]).itertuples(index=False)
            names = ", ".join(f"{face} ({value:.2f}, {hold_out})" for face, hold_out, value in worst_rows)
            lines.append(f"- {variant} {strength:g}, {FIGURES[figure][0]}: {names}")
        variant_escapes = select(escaped, variant=variant, strength=strength)
        for family, run in split_held_out_runs(select_threshold(variant_escapes, FAR1)).items():
            matched = run.index[~run.all(axis=1)].get_level_values("face")
            lines.append(f"- {variant} {strength:g}, still matched by {family}: {', '.join(matched) or 'none'}")
    return "\n".join(lines)
