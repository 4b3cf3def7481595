"""The report's section on people: how well they are grouped, and their photos protected as a shoot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.data import parse_person
from benchmarks.report.tables import format_number, format_percent, format_table
from benchmarks.rows import COLD_SHOOT, SHOOT


def write_section(path: Path) -> str:
    """Results of ``python -m benchmarks shoot``; "" before it has run."""
    if not path.is_file():
        return ""
    results = json.loads(path.read_text(encoding="utf-8"))
    grouped = [
        {
            "recogniser": name,
            "adjusted Rand index": format_number(figures["ari"], 2),
            "among strangers": format_number(figures.get("with_strangers"), 2),
            "strangers in a group": format_percent(figures.get("joined")),
        }
        for name, figures in results["grouping"].items()
    ]
    grouping_seconds = results["seconds_for_5000"]
    head = (
        f"{results['photos']} photos of {results['people']} people, {results['strangers']} strangers of one photo each."
    )
    speed = (
        f"5,000 made-up faces of 150 people are grouped in {grouping_seconds['of_150_people']:.1f} s, of people who all"
        f" resemble each other in {grouping_seconds['alike']:.1f} s. Code {results['code']}."
    )
    parts = [head, format_table(grouped), speed]
    shoot = results["shoot"]
    parts.append(format_table([_make_line(name, figures) for name, figures in shoot.items()]))
    if COLD_SHOOT in shoot:
        cold, warm = shoot[COLD_SHOOT], shoot[SHOOT]
        parts.append(
            f"With a warm start, a person's later photos take {cold['seconds'] / warm['seconds']:.2f} times less time,"
            f" and {cold['steps'] / warm['steps']:.2f} times fewer steps, than without."
        )
    looks = [
        {
            "one look": name,
            "measured on": _count_photos(figures["measured_on"], "portraits"),
            "products, Delta E between photos": format_number(figures["products"], 1),
            "most": format_number(figures["products_most"], 1),
            "worn in only one of two photos": format_percent(figures["products_alone"]),
        }
        for name, figures in results.get("looks", {}).items()
    ]
    return "\n\n".join(part for part in (*parts, format_table(looks)) if part)


def _count_photos(labels: Sequence[str], kind: str) -> str:
    """Count people or portraits, which labels name before their slash, and photos."""
    return f"{kind}: {len({parse_person(label) for label in labels})}, photos: {len(labels)}"


def _make_line(method: str, figures: dict[str, Any]) -> dict[str, str]:
    lost = {
        f"{title}, {role}": format_percent(figures.get(role, {}).get(key))
        for title, key in (("matches lost with others", "others"), ("between protected photos", "protected"))
        for role in ("held-out", "white-box")
    }
    return {
        "photos protected": method,
        "measured on": _count_photos(figures["measured_on"], "people"),
        **lost,
        "lips, Delta E between photos": f"{figures['lips']:.1f} (before {figures['lips_before']:.1f})",
        "steps": format_number(figures["steps"], 0),
        "seconds": format_number(figures["seconds"], 0),
    }
