"""The contact sheet of a shoot's people: one HTML file that needs nothing else, opens offline and runs no script."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from c2p_core.people.finding import People
from c2p_core.people.listing import count_photos
from c2p_core.people.looks_file import Looks, PersonLook

NAME = "people.html"
# Small pictures per person on the sheet, the least typical ones first: they are the ones to check.
_MAX_PICTURES = 120

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 76rem; padding: 0 1rem; }
section { border-top: 1px solid color-mix(in srgb, currentColor 25%, transparent); padding: .6rem 0 1rem; }
h2 { margin: .4rem 0 .1rem; }
p { margin: .2rem 0 .6rem; max-width: 60rem; }
ul { display: flex; flex-wrap: wrap; gap: .6rem; list-style: none; margin: 0; padding: 0; }
li { width: 7rem; }
img { display: block; width: 7rem; height: 7rem; border-radius: .4rem; }
code { display: block; font-size: .68rem; line-height: 1.25; overflow-wrap: anywhere; user-select: all; }
p code { display: inline; font-size: .9em; }
"""

_INTRODUCTION = (
    "Faces that look alike, the largest groups first. Nobody is identified: a number means the same face, not a name."
    " In every group the most typical face comes first, then those that fit least: look at these. The label under a"
    " face is its name in <code>looks.toml</code>, where you correct what is wrong here and choose what everybody"
    " gets. This page shows unprotected faces: keep it where the originals are, and delete it when you are done."
)


def draw_sheet(people: People, looks: Looks) -> str:
    """The page, as HTML."""
    indices: dict[int, list[int]] = {}
    for index, face in enumerate(people.faces):
        indices.setdefault(looks.resolve_person(face.group) if face.group else 0, []).append(index)
    counts = count_photos(people.faces, looks.merged)
    unassigned = indices.pop(0, [])
    sections = [
        _draw_person(number, indices[number], counts[number], looks.people.get(number, PersonLook()), people)
        for number in order_people(counts)
    ]
    if unassigned:
        caption = "Seen once, or marked as nobody. Their look is that of <code>[others]</code>."
        sections.append(_draw_section("others", "Nobody in particular", caption, unassigned, people))
    totals = f"{len(counts)} people, {len(people.faces)} faces, {len(people.photos)} photos."
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>People</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="robots" content="noindex">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>People</h1>\n<p>{totals}</p>\n<p>{_INTRODUCTION}</p>\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def order_people(counts: dict[int, tuple[int, int]]) -> list[int]:
    """The numbers of the people, those with the most faces first."""
    return sorted(counts, key=lambda number: (-counts[number][1], number))


def describe_look(look: PersonLook) -> str:
    """The look of a person in words; empty where the command's options apply."""
    if look.skip:
        return "skipped"
    parts = [f'"{look.prompt}"'] if look.prompt is not None else []
    parts += [f"strength {look.strength:g}"] if look.strength is not None else []
    parts += [f"seed {look.seed}"] if look.seed is not None else []
    parts += [f"locked: {', '.join(look.locks)}"] if look.locks else []
    return ", ".join(parts)


def _draw_person(number: int, indices: Sequence[int], counts: tuple[int, int], look: PersonLook, people: People) -> str:
    photos, faces = counts
    caption = f"{photos} {'photo' if photos == 1 else 'photos'}"
    caption += f", {faces} faces" if faces != photos else ""
    look_text = describe_look(look)
    return _draw_section(
        f"person-{number}",
        f"Person {number}",
        escape(f"{caption}; {look_text}" if look_text else caption),
        indices,
        people,
    )


def _draw_section(anchor: str, title: str, caption: str, indices: Sequence[int], people: People) -> str:
    first = max(indices, key=lambda index: people.typicality[index])
    rest = sorted((index for index in indices if index != first), key=lambda index: people.typicality[index])
    selected = [first, *rest[: _MAX_PICTURES - 1]]
    note = f"<p>{len(indices) - len(selected)} more are not shown.</p>" if len(indices) > len(selected) else ""
    items = "\n".join(_draw_face(index, title, people) for index in selected)
    return (
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">\n<h2 id="{anchor}-title">{title}</h2>\n'
        f"<p>{caption}</p>\n<ul>\n{items}\n</ul>\n{note}</section>"
    )


def _draw_face(index: int, title: str, people: People) -> str:
    label = escape(str(people.faces[index].label))
    data = base64.b64encode(people.pictures[index]).decode()
    return (
        f'<li><img src="data:image/jpeg;base64,{data}" width="112" height="112"'
        f' alt="{title}, {label}"><code>{label}</code></li>'
    )
