"""The contact sheet of a shoot's people: one HTML file that needs nothing else, opens offline and runs no script."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from c2p_core.people.finding import People
from c2p_core.people.listing import count_photos
from c2p_core.people.looks_file import Looks, PersonLook

NAME = "people.html"
# Small pictures of a person that the sheet shows, the least typical first: those are the ones to check.
_MOST = 120

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
    places: dict[int, list[int]] = {}
    for at, face in enumerate(people.faces):
        places.setdefault(looks.person(face.group) if face.group else 0, []).append(at)
    counts = count_photos(people.faces, looks.merged)
    alone = places.pop(0, [])
    sections = [
        _draw_person(number, places[number], counts[number], looks.people.get(number, PersonLook()), people)
        for number in order_people(counts)
    ]
    if alone:
        words = "Seen once, or said to be nobody. They get what <code>[others]</code> says."
        sections.append(_draw_section("others", "Nobody in particular", words, alone, people))
    found = f"{len(counts)} people, {len(people.faces)} faces, {len(people.photos)} photos."
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>People</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="robots" content="noindex">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>People</h1>\n<p>{found}</p>\n<p>{_INTRODUCTION}</p>\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def order_people(counts: dict[int, tuple[int, int]]) -> list[int]:
    """The numbers of the people, those with the most faces first."""
    return sorted(counts, key=lambda number: (-counts[number][1], number))


def describe_look(look: PersonLook) -> str:
    """What a person gets, in words; empty for what the command's options say."""
    if look.skip:
        return "skipped"
    parts = [f'"{look.prompt}"'] if look.prompt is not None else []
    parts += [f"strength {look.strength:g}"] if look.strength is not None else []
    parts += [f"seed {look.seed}"] if look.seed is not None else []
    parts += [f"locked: {', '.join(look.locks)}"] if look.locks else []
    return ", ".join(parts)


def _draw_person(number: int, places: Sequence[int], counts: tuple[int, int], look: PersonLook, people: People) -> str:
    photos, faces = counts
    words = f"{photos} {'photo' if photos == 1 else 'photos'}"
    words += f", {faces} faces" if faces != photos else ""
    described = describe_look(look)
    return _draw_section(
        f"person-{number}", f"Person {number}", escape(f"{words}; {described}" if described else words), places, people
    )


def _draw_section(anchor: str, title: str, words: str, places: Sequence[int], people: People) -> str:
    first = max(places, key=lambda at: people.typical[at])
    rest = sorted((at for at in places if at != first), key=lambda at: people.typical[at])
    shown = [first, *rest[: _MOST - 1]]
    more = f"<p>{len(places) - len(shown)} more are not shown.</p>" if len(places) > len(shown) else ""
    items = "\n".join(_draw_face(at, title, people) for at in shown)
    return (
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">\n<h2 id="{anchor}-title">{title}</h2>\n'
        f"<p>{words}</p>\n<ul>\n{items}\n</ul>\n{more}</section>"
    )


def _draw_face(at: int, title: str, people: People) -> str:
    label = escape(str(people.faces[at].label))
    data = base64.b64encode(people.pictures[at]).decode()
    return (
        f'<li><img src="data:image/jpeg;base64,{data}" width="112" height="112"'
        f' alt="{title}, {label}"><code>{label}</code></li>'
    )
