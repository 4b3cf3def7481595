"""The contact sheet: who is on it, in which order, and that it needs nothing from outside."""

from __future__ import annotations

import re

from c2p_core.people.finding import People
from c2p_core.people.listing import ListedFace
from c2p_core.people.looks_file import parse_looks
from c2p_core.people.sheet import draw_sheet


def people() -> People:
    groups = [2, 2, 2, 1, 1, 0, 3]
    faces = tuple(ListedFace(f"{index}<&>.jpg", 1, (0, 0, 10, 10), group) for index, group in enumerate(groups))
    typical = (0.2, 0.9, 0.5, 1.0, 0.9, 1.0, 1.0)
    return People(faces, tuple(b"jpeg%d" % index for index in range(7)), typical, (), ())


def test_the_largest_group_comes_first_its_most_typical_face_ahead_then_the_least() -> None:
    page = draw_sheet(people(), parse_looks("", "looks.toml"))
    titles = re.findall(r"<h2 [^>]*>([^<]*)</h2>", page)
    assert titles == ["Person 2", "Person 1", "Person 3", "Nobody in particular"]
    labels = re.findall(r"<code>(\d)&lt;&amp;&gt;\.jpg@5,5</code>", page)
    assert labels == ["1", "0", "2", "3", "4", "6", "5"]


def test_merged_people_are_one_and_looks_are_shown() -> None:
    page = draw_sheet(people(), parse_looks('merge = [2, 1]\n[person.3]\nskip = true\n[person.1]\nprompt = "<b>"', "x"))
    assert re.findall(r"<h2 [^>]*>([^<]*)</h2>", page) == ["Person 1", "Person 3", "Nobody in particular"]
    assert "5 photos; &quot;&lt;b&gt;&quot;" in page and "1 photo; skipped" in page


def test_the_page_loads_nothing_from_outside_and_describes_every_picture() -> None:
    page = draw_sheet(people(), parse_looks("", "looks.toml"))
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 7 and all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "<script" not in page and "http" not in page
    assert len(re.findall(r'alt="[^"]+"', page)) == 7
