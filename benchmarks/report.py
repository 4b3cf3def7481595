"""REPORT.md from the rows: every figure of the README's table comes from here."""

# mypy: allow-untyped-calls
from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from scipy.stats import binomtest

from benchmarks import rows
from benchmarks.cost import COST_FILE
from benchmarks.data import Places
from benchmarks.rows import NATURAL_FILE, NO_FAMILY, PROTECT_FILE, NaturalRow, ProtectRow, Score

REPORT_FILE = "REPORT.md"
MAIN_METHOD, MAIN_STRENGTH = "c2p", 0.7

def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    cells = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in cells)


Groups = dict[tuple[str, float], list[ProtectRow]]
NaturalGroups = dict[tuple[str, float], list[NaturalRow]]


def _protection_table(groups: Groups, names: Names) -> str:
    lines = []
    for (variant, strength), group in groups.items():
        held = [held_out_rate(group, names, t) for t in THRESHOLDS.values()]
        white = [white_box_rate(group, names, t) for t in THRESHOLDS.values()]
        lost = sum(row.face_before and not row.face_after for row in group)
        missed = sum(not row.face_before for row in group)
        faces = len({row.setting.face for row in group})
        rates = [rate or "–" for rate in (*held, *white)]
        runs = ", ".join(held_out_runs(group, names))
        lines.append([variant, f"{strength:g}", faces, runs, *rates, f"{lost} of {len(group)}", missed])
    head = ["method", "strength", "faces", "judged by", *(f"held-out, {t}" for t in THRESHOLDS)]
    return _table([*head, *(f"white-box, {t}" for t in THRESHOLDS), "no face after", "no face before"], lines)


def _recogniser_table(groups: Groups, names: Names) -> str:
    lines = []
    for (variant, strength), group in groups.items():
        for family, found in held_out_runs(group, names).items():
            for name in names[family]:
                scores = [s for row in found for s in row.scores if s.recogniser == name]
                rates = [recogniser_rate(found, name, t) for t in THRESHOLDS.values()]
                limits = f"{scores[0].far1:.3f} / {scores[0].far01:.3f}" if scores else "–"
                after = _number(_mean(s.after for s in scores), 3)
                before = _number(_mean(s.before for s in scores), 3)
                lines.append([variant, f"{strength:g}", family, name, *rates, before, after, limits])
    head = ["method", "strength", "family left out", "recogniser", *THRESHOLDS]
    return _table([*head, "similarity before", "after", "thresholds"], lines)


NATURAL_COLUMNS: dict[str, tuple[str, int]] = {
    "psnr": ("PSNR, dB", 1),
    "ssim": ("SSIM", 3),
    "mesh_shift": ("landmarks moved, %", 2),
    "eye_shift": ("eye landmarks, %", 2),
    "flow_shift": ("moved by optical flow, %", 2),
    "flow_eye_shift": ("eyes by optical flow, %", 2),
    "skin_de_mean": ("skin ΔE 2000 mean", 2),
    "skin_de_p95": ("skin ΔE 2000 95th percentile", 2),
    "patch_face": ("patchiness face", 2),
    "patch_skin": ("patchiness skin", 2),
    "patch_face_raw": ("unregistered face", 2),
    "patch_skin_raw": ("unregistered skin", 2),
}


def natural_mean(group: Iterable[NaturalRow], figure: str) -> float | None:
    """Mean of one figure over all pictures of a group that have it."""
    return _mean(getattr(row, figure) for row in group)


def _natural_table(groups: NaturalGroups) -> str:
    lines = []
    for (variant, strength), group in groups.items():
        means = [_number(natural_mean(group, name), digits) for name, (_, digits) in NATURAL_COLUMNS.items()]
        lines.append([variant, f"{strength:g}", len(group), *means])
    return _table(["method", "strength", "pictures", *(title for title, _ in NATURAL_COLUMNS.values())], lines)


def _time_table(groups: Groups) -> str:
    lines = []
    for (variant, strength), group in groups.items():
        seconds = sorted(row.seconds for row in group)
        if seconds[-1] == 0.0:
            continue
        steps = fmean(row.steps for row in group)
        late = seconds[min(len(seconds) - 1, int(0.95 * len(seconds)))]
        peak = max(row.peak_mib for row in group)
        figures = [f"{v:.1f}" for v in (fmean(seconds), median(seconds), late)]
        lines.append([variant, f"{strength:g}", len(group), *figures, f"{steps:.0f}", f"{peak:.0f}"])
    return _table(
        ["method", "strength", "pictures", "mean, s", "median", "95th percentile", "steps", "peak MiB of a worker"],
        lines,
    )


def _cost_section(path: Path) -> tuple[str, list[tuple[str, str, str]]]:
    """Text, and lines for the table of targets: figure, target, measured."""
    if not path.exists():
        return "Not measured yet: `python -m benchmarks cost`.", []
    data = json.loads(path.read_text(encoding="utf-8"))
    costs = data["costs"]
    lines = [
        [c["face"], f"{c['megapixels']:.1f}", f"{c['seconds']:.1f}", c["steps"], f"{c['files']:.1f}",
         f"{c['loaded_mib']:.0f}", f"{c['peak_mib']:.0f}",
         ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in c["stages"].items())]
        for c in costs
    ]  # fmt: skip
    head = ["face", "megapixels", "seconds", "steps", "files, s", "MiB once loaded", "peak MiB", "stages, s"]
    small, large = costs[::2], costs[1::2]
    # The search takes as many steps as it takes; what size costs is the rest.
    added = [_rest(b) - _rest(a) for a, b in zip(small, large, strict=True)]
    memory = [b["peak_mib"] - a["peak_mib"] for a, b in zip(small, large, strict=True)]
    targets = [
        ("seconds a face, models loaded", "≤ 25", f"{fmean(c['seconds'] for c in small):.1f}"),
        ("peak memory", "≤ 2048 MiB", f"{max(c['peak_mib'] for c in small):.0f} MiB"),
        ("24 megapixels add, seconds (outside the search)", "≤ 3", f"{fmean(added):.1f}"),
        ("24 megapixels add, memory", "≤ 1024 MiB", f"{fmean(memory):.0f} MiB"),
    ]
    return f"Strength {data['strength']:g}, code {data['code']}.\n\n{_table(head, lines)}", targets


def _rest(cost: dict[str, dict[str, float]]) -> float:
    return sum(seconds for stage, seconds in cost["stages"].items() if stage not in ("load", "search"))


def _target_table(groups: Groups, natural: NaturalGroups, names: Names, extra: list[tuple[str, str, str]]) -> str:
    lines: list[Sequence[object]] = []
    mains = [g for (_, s), g in groups.items() if s == MAIN_STRENGTH and g[0].setting.method == MAIN_METHOD]
    if mains:
        main = max(mains, key=len)
        far1 = THRESHOLDS["FAR 1 %"]
        lines.append(["held-out PSR at FAR 1 %", "≥ 65 % (goal 90 %)", held_out_rate(main, names, far1) or "–"])
        lines.append(["white-box PSR at FAR 1 %", "≥ 98 %", white_box_rate(main, names, far1) or "–"])
    pictures = [r for (_, s), g in natural.items() if s == MAIN_STRENGTH for r in g if r.setting.method == MAIN_METHOD]
    reference = [r for (_, s), g in natural.items() if s == MAIN_STRENGTH for r in g if r.setting.method == "look"]
    if pictures:
        patch = _number(natural_mean(reference, "patch_face"), 2)
        patch_skin = _number(natural_mean(reference, "patch_skin"), 2)
        targets = {
            "psnr": "≥ 27",
            "ssim": "≥ 0.92",
            "mesh_shift": "≤ 3",
            "eye_shift": "≤ 1",
            "flow_shift": "≤ 3",
            "flow_eye_shift": "≤ 1",
            "skin_de_mean": "≤ 6",
            "patch_face": f"≤ {patch} (random look)",
            "patch_skin": f"≤ {patch_skin} (random look)",
        }
        for name, target in targets.items():
            title, digits = NATURAL_COLUMNS[name]
            lines.append([title, target, _number(natural_mean(pictures, name), digits)])
    return _table(["figure", "target", "measured"], [*lines, *extra])


def _worst(natural: NaturalGroups, groups: Groups, names: Names) -> str:
    """The faces to look at first: highest patchiness, most colour shift, most movement, and those still matched."""
    out = []
    for (variant, strength), group in natural.items():
        if group[0].setting.method != MAIN_METHOD:
            continue
        for figure in ("psnr", "eye_shift", "skin_de_mean", "patch_skin"):
            known = [r for r in group if getattr(r, figure) is not None]
            known.sort(key=lambda r: getattr(r, figure), reverse=figure != "psnr")
            listed = ", ".join(f"{r.setting.face} ({getattr(r, figure):.2f}, {r.setting.hold_out})" for r in known[:5])
            out.append(f"- {variant} {strength:g}, {NATURAL_COLUMNS[figure][0]}: {listed}")
        for family, found in held_out_runs(groups.get((variant, strength), []), names).items():
            far1 = THRESHOLDS["FAR 1 %"]
            matched = [r.setting.face for r in found if not all(_escaped(r, n, far1) for n in names[family])]
            out.append(f"- {variant} {strength:g}, still matched by {family}: {', '.join(matched) or 'none'}")
    return "\n".join(out)


NOTES = """\
- PSR (dodging): share of faces whose similarity to the original photo lies below the recogniser's threshold. The FAR
  1 % threshold is the lower one and so the harder to dodge. Held-out: judged by a recogniser family that the search
  never saw; the mean of the leave-one-family-out runs, and within a family the mean of its recognisers. White-box: no
  optimised recogniser matches. In brackets 95 % Wilson intervals over faces.
- No face after: none is found where the face was. Such a picture counts as protected, and is listed apart. No face
  before: the product found nothing to protect; counts as not protected.
- Landmarks: fresh detections in both pictures, per cent of the eye distance. The detector alone moves them by
  0.2 to 0.9 % when a photo is merely saved as JPEG 80, and by 0.4 to 2 % when eyes and lips are painted and nothing
  moves (see the random look's row); optical flow, which locks on texture, is given beside.
- Patchiness: root mean square in Lab units of the change between 4 and 32 cells across the face, moved edges registered
  away (`benchmarks/metrics.py`). Reference: a random makeup look without search, in the same strength.
- Seconds of a run are those of a process with one thread among several; the cost section measures one face alone."""


def write_report(places: Places) -> Path:
    """Build REPORT.md beside the rows and return its path; without rows it says so."""
    protect = list(rows.by_setting(rows.read(places.rows / PROTECT_FILE, rows.protect_row)).values())
    natural = list(rows.by_setting(rows.read(places.rows / NATURAL_FILE, rows.natural_row)).values())
    names = recognisers(protect)
    groups: Groups = {}
    for row in protect:
        groups.setdefault((row.setting.variant, row.setting.strength), []).append(row)
    natural_groups: NaturalGroups = {}
    for look in natural:
        natural_groups.setdefault((look.setting.variant, look.setting.strength), []).append(look)
    groups, natural_groups = dict(sorted(groups.items())), dict(sorted(natural_groups.items()))
    cost, targets = _cost_section(places.rows / COST_FILE)
    codes = sorted({row.code for row in protect} | {row.code for row in natural})
    mixed = " — rows of different code are mixed here" if len(codes) > 1 else ""
    sections = {
        f"Figures against targets (strength {MAIN_STRENGTH:g})": _target_table(groups, natural_groups, names, targets),
        "Protection": _protection_table(groups, names),
        "Protection by recogniser left out": _recogniser_table(groups, names),
        "Naturalness (means)": _natural_table(natural_groups),
        "Time in the runs": _time_table(groups),
        "Cost of one face alone": cost,
        "Faces to look at first": _worst(natural_groups, groups, names),
        "How to read this": NOTES,
    }
    text = "# Benchmark report\n\nMade by `python -m benchmarks report` from the rows in this folder"
    text += f" ({len(protect)} protected pictures, code {', '.join(codes) or '–'}{mixed}).\n"
    text += "".join(f"\n## {title}\n\n{body}\n" for title, body in sections.items())
    path = places.rows / REPORT_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
