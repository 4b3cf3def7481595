"""Whether the product serves everybody equally: protection and naturalness by how people look in their photos."""

from __future__ import annotations

from collections.abc import Mapping

from pandas import DataFrame

from benchmarks.metrics.psr import FAR1, held_out_rate, select_threshold, white_box_rate
from benchmarks.report.tables import format_number, format_table
from benchmarks.rows import Person
from benchmarks.suites.demographics import THIRDS, group_people

# Points, of protection or of SSIM x 100; larger differences between groups must be stated in the README.
LIMIT = 10.0
EVERYBODY = "everybody"
_FIGURES = {
    "ssim": ("SSIM", 3),
    "skin_de_mean": ("skin ΔE 2000", 2),
    "patch_face": ("patchiness", 2),
    "flip": ("FLIP", 3),
}


def write_section(escaped: DataFrame, natural: DataFrame, people: Mapping[str, Person]) -> str:
    """A table of groups with their counts, and a sentence for each figure in which two differ by more than `LIMIT`.

    Thirds of skin are compared with each other, and groups by label, which overlap, with each other.

    Args:
        escaped, natural: of one method and strength, see `psr.compute_escapes` and `naturalness.make_natural_frame`.
        people: by face.
    """
    if escaped.empty:
        return ""
    if not people:
        return "Not measured yet: `python -m benchmarks run`."
    all_faces = set(escaped.index.unique("face"))
    members = dict(sorted(group_people(people[face] for face in sorted(all_faces & set(people))).items()))
    lines, shares = [], {}
    for group, faces in {EVERYBODY: all_faces, **members}.items():
        group_escapes = select_threshold(escaped[escaped.index.get_level_values("face").isin(faces)], FAR1)
        means = natural[natural.index.get_level_values("face").isin(faces)].mean(numeric_only=True)
        rates = {"held-out": held_out_rate(group_escapes), "white-box": white_box_rate(group_escapes)}
        figures = {title: format_number(means[name], digits) for name, (title, digits) in _FIGURES.items()}
        lines.append({"group": group, "faces": len(faces)} | rates | figures)
        shares[group] = {name: rate and rate.value for name, rate in rates.items()} | {"SSIM": means["ssim"]}
    frame = DataFrame(shares, dtype=float).T
    names = frame.index.map(lambda group: f"{group} ({len(members.get(group, all_faces))})")
    frame = frame.set_axis(names)
    thirds = frame[names.str.startswith(THIRDS)]
    labelled = frame[~names.str.startswith((*THIRDS, EVERYBODY))]
    notes = [
        f"- {title}: {groups[title].idxmin()} {100 * groups[title].min():.0f} %,"
        f" {groups[title][::-1].idxmax()} {100 * groups[title].max():.0f} %"
        for groups in (thirds, labelled)
        for title in groups
        if 100 * (groups[title].max() - groups[title].min()) > LIMIT
    ]
    return (
        f"{format_table(lines)}\n\nFigures in which groups differ by more than {LIMIT:.0f} points, least and most (of"
        f" few faces much is chance; see the intervals):\n\n" + ("\n".join(notes) or "- none")
    )
