"""The report's section on people: who is told apart, and their photos protected as a shoot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.data import person_of
from benchmarks.report.tables import number, percent, table


def write_section(path: Path) -> str:
    """Results of ``python -m benchmarks shoot``; "" before it has run."""
    if not path.is_file():
        return ""
    found = json.loads(path.read_text(encoding="utf-8"))
    grouped = [
        {
            "recogniser": name,
            "adjusted Rand index": number(figures["ari"], 2),
            "among strangers": number(figures.get("with_strangers"), 2),
            "strangers in a group": percent(figures.get("joined")),
        }
        for name, figures in found["grouping"].items()
    ]
    took = found["seconds_for_5000"]
    head = f"{found['photos']} photos of {found['people']} people, {found['strangers']} strangers of one photo each."
    speed = (
        f"5,000 made-up faces of 150 people are grouped in {took['of_150_people']:.1f} s, of people who all resemble"
    )
    parts = [head, table(grouped), f"{speed} each other in {took['alike']:.1f} s. Code {found['code']}."]
    shoot = found["shoot"]
    parts.append(table([_line(name, figures) for name, figures in shoot.items()]))
    if len(shoot) > 1:
        alone, together = shoot.values()
        parts.append(
            f"As a shoot, a person's later photos take {alone['seconds'] / together['seconds']:.2f} times less time,"
            f" and {alone['steps'] / together['steps']:.2f} times fewer steps, than each by itself."
        )
    looks = [
        {
            "one look": name,
            "measured on": _count_photos(figures["measured_on"], "portraits"),
            "products, Delta E between photos": number(figures["products"], 1),
            "most": number(figures["products_most"], 1),
            "worn in only one of two photos": percent(figures["products_alone"]),
        }
        for name, figures in found.get("looks", {}).items()
    ]
    return "\n\n".join(part for part in (*parts, table(looks)) if part)


def _count_photos(labels: Sequence[str], of: str) -> str:
    """How many people or portraits, which labels name before their slash, and how many photos."""
    return f"{of}: {len({person_of(label) for label in labels})}, photos: {len(labels)}"


def _line(method: str, figures: dict[str, Any]) -> dict[str, str]:
    lost = {
        f"{title}, {role}": percent(figures.get(role, {}).get(what))
        for title, what in (("matches lost with others", "others"), ("between protected photos", "protected"))
        for role in ("held-out", "white-box")
    }
    return {
        "photos protected": method,
        "measured on": _count_photos(figures["measured_on"], "people"),
        **lost,
        "lips, Delta E between photos": f"{figures['lips']:.1f} (before {figures['lips_before']:.1f})",
        "steps": number(figures["steps"], 0),
        "seconds": number(figures["seconds"], 0),
    }
