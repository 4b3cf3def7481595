"""REPORT.md, plots and scores.csv from the rows: every figure of the README comes from here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pandas import DataFrame

from benchmarks import rows
from benchmarks.data import RunFolders
from benchmarks.frames import select, select_largest
from benchmarks.methods.strengths import PRODUCT_METHOD
from benchmarks.metrics.psr import compute_escapes, list_recognisers
from benchmarks.report import (
    agreement,
    covered,
    demographics,
    identification,
    inversion,
    other_photos,
    paper,
    plots,
    priors,
    protection,
    robustness,
    scaling,
    shoot,
    visibility,
)
from benchmarks.report.naturalness import make_natural_frame, write_form_table, write_natural_table
from benchmarks.report.targets import write_target_table
from benchmarks.rows import ProtectRow
from c2p_core.api import DEFAULT_HOLD_OUT, DEFAULT_STRENGTH, PRIORS
from c2p_core.io.atomic_files import write_whole
from c2p_core.models.store import bundle_dir
from c2p_core.recognition.thresholds import read_thresholds

REPORT_FILE = "REPORT.md"
SCORES_FILE = "scores.csv"
MAIN_STRENGTH = DEFAULT_STRENGTH
_SCORE_COLUMNS = ["face", "method", "strength", "hold_out", "prompt", "prior", "steps", "seed", "recogniser", "family",
                  "role", "before", "after", "far1", "far01", "rank", "gallery", "decoy_before", "decoy",
                  "code"]  # fmt: skip
_NOTES = Path(__file__).with_name("notes.md")
_THRESHOLDS = bundle_dir() / "mini" / "thresholds.json"


def write_scores(protect: Sequence[ProtectRow]) -> str:
    """Comma-separated values: one line per face, method, setting and recogniser."""
    lines = [
        vars(row.setting) | vars(score) | {"strength": f"{row.setting.strength:g}"}
        | {"gallery": row.gallery or None, "code": row.code}
        for row in protect
        for score in row.scores
    ]  # fmt: skip
    frame = DataFrame(lines, columns=_SCORE_COLUMNS).astype(dict.fromkeys(["steps", "rank", "gallery"], "Int64"))
    return str(frame.to_csv(index=False, float_format="%.4f", lineterminator="\n"))


def write_report(folders: RunFolders) -> Path:
    """Build REPORT.md, its plots and scores.csv beside the rows, and return the report's path.

    Without rows, the report says so and has no plots.
    """
    folder = folders.rows
    protect = rows.read_settings(folder / rows.PROTECT_FILE, rows.ProtectRow)
    natural_rows = rows.read_settings(folder / rows.NATURAL_FILE, rows.NaturalRow)
    degraded = rows.read_settings(folder / rows.ROBUSTNESS_FILE, rows.RobustnessRow)
    pairs = rows.read_settings(folder / rows.PAIRS_FILE, rows.PairRow)
    others = rows.read_settings(folder / rows.OTHERS_FILE, rows.OthersRow)
    protected = rows.read_settings(folder / rows.PROTECTED_PAIRS_FILE, rows.ProtectedPairsRow)
    paper_rows = rows.read_paper(folder / rows.PAPER_FILE)
    extra = rows.read(folder / rows.EXTRA_FILE, rows.ExtraRow)
    people = {person.face: person for person in rows.read(folder / rows.PEOPLE_FILE, rows.Person)}
    inversion_rows = rows.read(folder / rows.INVERSION_FILE, rows.InversionRow)
    covered_rows = rows.read(folder / rows.COVERED_FILE, rows.CoveredRow)
    costs = scaling.make_cost_frame(rows.read(folder / rows.COST_FILE, rows.CostRow))
    recognisers = list_recognisers(protect)
    escaped, natural = compute_escapes(protect, recognisers), make_natural_frame(natural_rows)
    curves = visibility.measure_curves(escaped, natural)

    pictures = {}
    if len(curves):
        plots.plot_curves(curves, folder / plots.CURVES_FILE)
        pictures["curves"] = _format_picture(plots.CURVES_FILE, "Protection over SSIM, PSNR, FLIP and patchiness")
    if degraded:
        plots.plot_robustness(degraded, recognisers, folder / plots.ROBUSTNESS_FILE)
        pictures["robustness"] = _format_picture(plots.ROBUSTNESS_FILE, "Protection after each degradation")
    if len(scaling.select_over_faces(costs)) or len(scaling.select_over_megapixels(costs)):
        plots.plot_cost(costs, folder / plots.COST_FILE)
        pictures["cost"] = _format_picture(plots.COST_FILE, "Seconds over faces and over megapixels")

    strength, hold_out = MAIN_STRENGTH, DEFAULT_HOLD_OUT
    sections = {
        f"Figures against targets (strength {strength:g})": write_target_table(
            escaped, natural, others, degraded, curves, costs, recognisers, strength
        ),
        "Protection": protection.write_headline_table(protect, escaped),
        f"As users run it (strength {strength:g}, {hold_out} held out)": protection.write_default_table(
            escaped, strength
        ),
        "Both priors side by side": priors.write_section(protect, escaped, natural, PRODUCT_METHOD, strength),
        "Other photos of the person": other_photos.write_section(others, protected),
        "The people of a shoot": shoot.write_section(folder / rows.SHOOT_FILE),
        "Which family to hold out by default": agreement.write_section(others, protect, _read_impostor_stds()),
        "Protection by recogniser left out": protection.write_recogniser_table(
            protect, escaped, _list_recognisers_with_photos()
        ),
        "Against another photo of the same person": identification.write_pairs_section(pairs),
        "Searched for in a gallery": identification.write_identification_section(protect, escaped),
        "Towards a decoy": identification.write_decoy_section(protect),
        "As papers measure": paper.write_section(paper_rows) if paper_rows else "",
        "Recognisers from outside": identification.write_extra_section(extra),
        "Beside other methods, at equal visibility": pictures.get("curves", "") + visibility.write_section(curves),
        "Robustness": pictures.get("robustness", "") + robustness.write_section(degraded, recognisers),
        "Expression and form (mean / 95th percentile)": write_form_table(natural),
        "Naturalness (means)": write_natural_table(natural),
        **{
            f"By group, prior {prior}": demographics.write_section(
                select_largest(select(escaped, prior=prior), PRODUCT_METHOD, strength),
                select_largest(select(natural, prior=prior), PRODUCT_METHOD, strength),
                people,
            )
            for prior in PRIORS
        },
        "Time in the runs": protection.write_time_table(protect),
        "Speed and scale": pictures.get("cost", "") + scaling.write_section(costs),
        "Faces with something before them": covered.write_section(covered_rows),
        "Inversion": inversion.write_section(inversion_rows),
        "Full-size StyleGAN2": priors.write_fullsize_section(folder / rows.FULLSIZE_FILE),
        "Faces to look at first": protection.list_worst_faces(natural, escaped, strength),
        "How to read this": _NOTES.read_text(encoding="utf-8").rstrip("\n"),
    }
    codes = sorted(
        {row.code for row_list in (protect, natural_rows, degraded, pairs, others, paper_rows) for row in row_list}
    )
    mixed = " — rows of different code are mixed here" if len(codes) > 1 else ""
    text = "# Benchmark report\n\nMade by `python -m benchmarks report` from the rows in this folder"
    text += f" ({len(protect)} protected pictures, code {', '.join(codes) or '–'}{mixed}).\n"
    text += "".join(f"\n## {title}\n\n{body}\n" for title, body in sections.items() if body)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / SCORES_FILE, write_scores(protect).encode())
    write_whole(folder / REPORT_FILE, text.encode())
    return folder / REPORT_FILE


def _format_picture(file: str, caption: str) -> str:
    return f"![{caption}]({file})\n\n"


def _read_impostor_stds() -> dict[str, float]:
    """Standard deviations over impostor pairs, by recogniser, from the project's own thresholds."""
    return {name: thresholds.impostor_std for name, thresholds in read_thresholds(_THRESHOLDS).items()}


def _list_recognisers_with_photos() -> set[str]:
    """Recognisers whose thresholds also rely on strangers in real photos."""
    recognisers = json.loads(_THRESHOLDS.read_text(encoding="utf-8"))["recognisers"]
    return {name for name, entry in recognisers.items() if "far1" in entry["sources"].get("photos", {})}
