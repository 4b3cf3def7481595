"""Protection as a searcher meets it: another photo of the person, others around it, a decoy, a judge from outside."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.rates import THRESHOLDS, Names, Rate, held_out_runs, recogniser_rate, recognisers
from benchmarks.rows import ExtraRow, PairRow, ProtectRow
from benchmarks.tables import by_variant, mean, number, table


def pairs_section(pairs: Sequence[PairRow]) -> str:
    """Each recogniser, held out and optimised against, on other photos of the same person, at both thresholds."""
    if not pairs:
        return "Not measured yet, or the photos could not be had: `python -m benchmarks run --suite protect`."
    lines = []
    for (variant, strength), group in by_variant(pairs).items():
        scores = [s for row in group for said in row.others.values() for s in said]
        for name, role in sorted({(s.recogniser, s.role) for s in scores}):
            own = [s for s in scores if (s.recogniser, s.role) == (name, role)]
            rates: list[object] = []
            for limit in THRESHOLDS.values():
                matched = [s for s in own if s.before >= limit(s)]
                missed = sum(s.after < limit(s) for s in matched)
                rates += [
                    f"{len(matched)} of {len(own)}",
                    Rate(missed / len(matched), len(matched)) if matched else "–",
                ]
            before, after = (number(mean(getattr(s, which) for s in own), 3) for which in ("before", "after"))
            lines.append([variant, f"{strength:g}", name, role, *rates, before, after,
                          f"{own[0].far1:.3f} / {own[0].far01:.3f}"])  # fmt: skip
    lost = sum(not row.others for row in pairs)
    figures = (f"{what}, {title}" for title in THRESHOLDS for what in ("matched before", "of these missed now"))
    head = ["method", "strength", "recogniser", "role", *figures, "similarity before", "after", "thresholds"]
    note = f"\n\n{lost} protected pictures showed no face." if lost else ""
    return table(head, lines) + note


def identification_section(protect: Sequence[ProtectRow], names: Names) -> str:
    """How often the person's own photo is not among the first when it is searched with the protected one."""
    lines = []
    for (variant, strength), group in by_variant(protect).items():
        asked = [row for row in group if row.gallery or (row.face_before and not row.face_after)]
        if not any(row.gallery for row in asked):
            continue
        for family, found in held_out_runs(asked, names).items():
            for name in names[family]:
                ranks = [next((s.rank for s in row.scores if s.recogniser == name), None) for row in found]
                first, fifth = (
                    Rate(sum(rank is None or rank > places for rank in ranks) / len(ranks), len(ranks))
                    for places in (1, 5)
                )
                people = max(row.gallery for row in found)
                lines.append([variant, f"{strength:g}", name, people, first, fifth])
    if not lines:
        return "Not measured yet: `python -m benchmarks run --suite protect`."
    return table(["method", "strength", "recogniser, held out", "other people", "not first", "not among five"], lines)


def decoy_section(protect: Sequence[ProtectRow], names: Names) -> str:
    """Impersonation: how often the protected face passes for the decoy that the search went for."""
    lines = []
    towards = [row for row in protect if any(s.decoy is not None for s in row.scores)]
    for (variant, strength), group in by_variant(towards).items():
        for name in (n for members in names.values() for n in members):
            for role in ("held-out", "white-box"):
                scores = [s for row in group for s in row.scores if (s.recogniser, s.role) == (name, role)]
                known = [(s.decoy_before, s.decoy, s) for s in scores if s.decoy is not None]
                if not known:
                    continue
                passed = [
                    Rate(sum(decoy > limit(s) for _, decoy, s in known) / len(known), len(known))
                    for limit in THRESHOLDS.values()
                ]
                before, after = (number(mean(pair[i] for pair in known), 3) for i in (0, 1))  # type: ignore[misc]
                lines.append([variant, f"{strength:g}", name, role, *passed, before, after,
                              f"{known[0][2].far1:.3f} / {known[0][2].far01:.3f}"])  # fmt: skip
    if not lines:
        return "Not measured yet: `python -m benchmarks run --suite protect`."
    taken = (f"taken for the decoy, {title}" for title in THRESHOLDS)
    head = ["method", "strength", "recogniser", "role", *taken, "similarity before", "after", "thresholds"]
    return table(head, lines)


def extra_section(extra: Sequence[ExtraRow]) -> str:
    """What judges from outside say, who never took part in any search; "" of none."""
    lines = []
    for (variant, strength), group in by_variant(extra).items():
        for source in dict.fromkeys(row.source for row in group):
            own = [row for row in group if row.source == source]
            for name in (n for members in recognisers(own).values() for n in members):
                rates = [recogniser_rate(own, name, t) for t in THRESHOLDS.values()]
                after = number(mean(s.after for row in own for s in row.scores), 3)
                lines.append([variant, f"{strength:g}", f"{name} ({source})", len(own), *rates, after])
    if not lines:
        return ""
    return table(["method", "strength", "recogniser", "pictures", *THRESHOLDS, "similarity after"], lines)
