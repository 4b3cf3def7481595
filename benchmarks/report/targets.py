"""Figures of the product beside their targets."""

from __future__ import annotations

from collections.abc import Sequence

from pandas import DataFrame, MultiIndex

from benchmarks.frames import select, select_largest
from benchmarks.methods.strengths import CURVES, PRODUCT_METHOD
from benchmarks.metrics.psr import FAR1, held_out_rate, select_threshold, white_box_rate
from benchmarks.report import other_photos, robustness, scaling, visibility
from benchmarks.report.naturalness import FIGURES, format_expression
from benchmarks.report.tables import format_number, format_table
from benchmarks.rows import OthersRow, RobustnessRow, SettingRow
from c2p_core.api import PRIORS

Target = tuple[str, str, object]


def write_target_table(
    escaped: DataFrame,
    natural: DataFrame,
    others: Sequence[OthersRow],
    degraded: Sequence[RobustnessRow],
    curves: DataFrame,
    costs: DataFrame,
    recognisers: MultiIndex,
    strength: float,
) -> str:
    """The table, of the product at one strength."""
    lines: list[Target] = []
    for prior in PRIORS:
        targets = other_photos.list_targets(_select_largest_rows(others, prior, strength))
        targets += _list_protection_targets(select_largest(select(escaped, prior=prior), PRODUCT_METHOD, strength))
        targets += _list_robustness_targets(_select_largest_rows(degraded, prior, strength), recognisers)
        targets += _list_naturalness_targets(natural, prior, strength)
        lines += [(f"{prior}: {figure}", target, value) for figure, target, value in targets]
    # A comparison with only some of the baselines would prove nothing.
    for figure in ("ssim", "flip", "patch_face") if set(visibility.group_curves(curves)) >= set(CURVES) else ():
        wins, value = visibility.count_wins(curves, figure)
        title, levels = visibility.LEVELS[figure]
        figure_title = f"{title} levels at which the best prior protects more than every baseline"
        lines.append((figure_title, f"all {len(levels)}", f"{wins}; measured at {value}"))
    lines += scaling.list_targets(costs)
    return format_table(dict(zip(("figure", "target", "measured"), line, strict=True)) for line in lines)


def _select_largest_rows(rows: Sequence[SettingRow], prior: str, strength: float) -> list[SettingRow]:
    """The product's rows with a prior, of the variant with the most rows; the first of equals."""
    wanted = (PRODUCT_METHOD, prior, strength)
    by_variant: dict[str, list[SettingRow]] = {}
    for row in rows:
        if (row.setting.method, row.setting.prior, row.setting.strength) == wanted:
            by_variant.setdefault(row.setting.variant, []).append(row)
    return max((by_variant[variant] for variant in sorted(by_variant)), key=len, default=[])


def _list_protection_targets(escaped: DataFrame) -> list[Target]:
    if escaped.empty:
        return []
    return [
        ("held-out PSR at FAR 1 %", "≥ 50 %", held_out_rate(select_threshold(escaped, FAR1))),
        ("white-box PSR at FAR 1 %", "≥ 98 %", white_box_rate(select_threshold(escaped, FAR1))),
    ]


def _list_robustness_targets(degraded: Sequence[RobustnessRow], recognisers: MultiIndex) -> list[Target]:
    rates = robustness.held_out_rates(degraded, recognisers)
    shares = {name: rate.value for name, rate in rates.items()}
    return [
        (
            f"held-out PSR after {name}",
            "within 10 points",
            f"{100 * shares[name]:.0f} % ({100 * (shares[name] - shares[robustness.UNDEGRADED]):+.0f})",
        )
        for name in (robustness.TARGETED if rates else ())
    ]


def _list_naturalness_targets(natural: DataFrame, prior: str, strength: float) -> list[Target]:
    pictures = select_largest(select(natural, prior=prior), PRODUCT_METHOD, strength)
    if pictures.empty:
        return []
    look = select_largest(natural, "look", strength)
    targets = {
        "psnr": "≥ 27",
        "ssim": "≥ 0.955",
        "mesh_shift": "≤ 1.8",
        "eye_shift": "≤ 1",
        "flow_shift": "≤ 3",
        "flow_eye_shift": "≤ 1",
        "skin_de_mean": "≤ 4",
        "patch_face": f"≤ {format_number(look['patch_face'].mean(), 2)} (random look)",
        "patch_skin": f"≤ {format_number(look['patch_skin'].mean(), 2)} (random look)",
    }
    lines: list[Target] = [
        (FIGURES[name][0], target, format_number(pictures[name].mean(), FIGURES[name][1]))
        for name, target in targets.items()
    ]
    if form := format_expression(pictures):
        lines.append(("expression, mean and 95th percentile, %", "≤ 0.8 and 2.2 (goal 0.5 and 1.5)", form))
    return lines
