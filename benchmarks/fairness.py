"""Whether the product serves everybody alike: protection and naturalness by how people look in their photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.people import groups
from benchmarks.rates import THRESHOLDS, Names, held_out_rate, white_box_rate
from benchmarks.rows import NaturalRow, Person, ProtectRow
from benchmarks.tables import mean, number, table

# Points, of protection or of SSIM x 100, by which a group may differ before the README has to say so.
LIMIT = 10.0
EVERYBODY = "everybody"
_LOOKS = {
    "ssim": ("SSIM", 3),
    "skin_de_mean": ("skin ΔE 2000", 2),
    "patch_face": ("patchiness", 2),
    "flip": ("FLIP", 3),
}


def section(
    protect: Sequence[ProtectRow], natural: Sequence[NaturalRow], people: Mapping[str, Person], names: Names
) -> str:
    """A table of groups with their counts, and a sentence for each that differs from everybody by more than `LIMIT`.

    Args:
        protect, natural: rows of one method and strength.
        people: by face.
    """
    if not protect or not people:
        return "Not measured yet: `python -m benchmarks run`."
    everybody = {row.setting.face for row in protect}
    members = {EVERYBODY: everybody, **groups(people[face] for face in sorted(everybody & set(people)))}
    lines, notes = [], []
    overall: dict[str, float | None] = {}
    for group in (EVERYBODY, *sorted(members.keys() - {EVERYBODY})):
        faces = members[group]
        own = [row for row in protect if row.setting.face in faces]
        looks = [row for row in natural if row.setting.face in faces]
        rates = [f(own, names, THRESHOLDS["FAR 1 %"]) for f in (held_out_rate, white_box_rate)]
        figures = [number(mean(getattr(row, name) for row in looks), digits) for name, (_, digits) in _LOOKS.items()]
        lines.append([group, len(faces), *(rate or "–" for rate in rates), *figures])
        shares = {
            "held-out": rates[0].value if rates[0] else None,
            "white-box": rates[1].value if rates[1] else None,
            "SSIM": mean(row.ssim for row in looks),
        }
        overall = overall or shares
        for title, share in shares.items():
            usual = overall[title]
            if share is not None and usual is not None and abs(share - usual) * 100 > LIMIT:
                notes.append(
                    f"- {group}: {title} {100 * share:.0f} % of {len(faces)} faces, {100 * usual:.0f} % of everybody"
                    f" ({100 * (share - usual):+.0f} points)"
                )
    head = ["group", "faces", "held-out", "white-box", *(title for title, _ in _LOOKS.values())]
    said = "\n".join(notes) or "- none"
    return (
        f"{table(head, lines)}\n\nGroups that differ from everybody by more than {LIMIT:.0f} points (of few faces much"
        f" is chance; see the intervals):\n\n{said}"
    )
