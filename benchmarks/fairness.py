"""Whether the product serves everybody alike: protection and naturalness by how people look in their photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.people import THIRDS, groups
from benchmarks.rates import THRESHOLDS, Names, held_out_rate, white_box_rate
from benchmarks.rows import NaturalRow, Person, ProtectRow
from benchmarks.tables import mean, number, table

# Points, of protection or of SSIM x 100, by which groups may differ before the README has to say so.
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
    """A table of groups with their counts, and a sentence for each figure in which two differ by more than `LIMIT`.

    Thirds of skin are compared with each other, and groups by label, which overlap, with each other.

    Args:
        protect, natural: rows of one method and strength.
        people: by face.
    """
    if not protect or not people:
        return "Not measured yet: `python -m benchmarks run`."
    everybody = {row.setting.face for row in protect}
    members = {EVERYBODY: everybody, **groups(people[face] for face in sorted(everybody & set(people)))}
    lines: list[list[object]] = []
    shares: dict[str, dict[str, float | None]] = {}
    for group in (EVERYBODY, *sorted(members.keys() - {EVERYBODY})):
        faces = members[group]
        own = [row for row in protect if row.setting.face in faces]
        looks = [row for row in natural if row.setting.face in faces]
        rates = [f(own, names, THRESHOLDS["FAR 1 %"]) for f in (held_out_rate, white_box_rate)]
        figures = [number(mean(getattr(row, name) for row in looks), digits) for name, (_, digits) in _LOOKS.items()]
        lines.append([group, len(faces), *(rate or "–" for rate in rates), *figures])
        shares[f"{group} ({len(faces)})"] = {
            "held-out": rates[0].value if rates[0] else None,
            "white-box": rates[1].value if rates[1] else None,
            "SSIM": mean(row.ssim for row in looks),
        }
    notes = []
    thirds = {group: found for group, found in shares.items() if group.startswith(THIRDS)}
    labelled = {group: found for group, found in shares.items() if not group.startswith((*THIRDS, EVERYBODY))}
    for kind in (thirds, labelled):
        for title in ("held-out", "white-box", "SSIM"):
            known = sorted((value, group) for group, found in kind.items() if (value := found[title]) is not None)
            if known and 100 * (known[-1][0] - known[0][0]) > LIMIT:
                (low, least), (high, most) = known[0], known[-1]
                notes.append(f"- {title}: {least} {100 * low:.0f} %, {most} {100 * high:.0f} %")
    head = ["group", "faces", "held-out", "white-box", *(title for title, _ in _LOOKS.values())]
    said = "\n".join(notes) or "- none"
    return (
        f"{table(head, lines)}\n\nFigures in which groups differ by more than {LIMIT:.0f} points, least and most (of"
        f" few faces much is chance; see the intervals):\n\n{said}"
    )
