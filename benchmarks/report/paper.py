"""The report's section on the papers' protocol, with the published figures beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pandas import DataFrame

from benchmarks.data import parse_person
from benchmarks.frames import make_identification_frame, make_pair_frame
from benchmarks.methods.strengths import DECOY_METHOD, PRODUCT_METHOD
from benchmarks.metrics.other_photos import rate, rate_over_families
from benchmarks.metrics.paper import dodged_pairs, rank_k_hits, rank_k_misses, target_matches
from benchmarks.models import describe_licences
from benchmarks.recognisers import open_store
from benchmarks.report.published import PUBLISHED, RECOGNISERS
from benchmarks.report.tables import NOTHING, format_number, format_table, format_thresholds
from benchmarks.rows import PaperRow
from c2p_core.api import DEFAULT_CLIP

# The product's names of the papers' recognisers.
_PAPER_NAMES = {
    "irse50": "IRSE50",
    "ir152": "IR152",
    "facenet": "FaceNet",
    "facenet-amt": "FaceNet",
    "mobileface-amt": "MobileFace",
}


@dataclass(frozen=True)
class _Verdicts:
    """Results of held-out recognisers: pairs of photos of one person, and searches among everybody."""

    pairs: DataFrame
    searches: DataFrame

    def select_recogniser(self, recogniser: str) -> _Verdicts:
        return _Verdicts(*(frame[frame["recogniser"] == recogniser] for frame in (self.pairs, self.searches)))


_IMPERSONATION: dict[str, Callable[[_Verdicts], DataFrame]] = {
    "taken for the decoy, FAR 1 %": lambda verdicts: target_matches(verdicts.searches, "far1"),
    "before": lambda verdicts: target_matches(verdicts.searches, "far1", "before"),
    "FAR 0.1 %": lambda verdicts: target_matches(verdicts.searches, "far01"),
    "decoy rank-1": lambda verdicts: rank_k_hits(verdicts.searches, "target", 1),
    "decoy rank-5": lambda verdicts: rank_k_hits(verdicts.searches, "target", 5),
}
_DODGING: dict[str, Callable[[_Verdicts], DataFrame]] = {
    "other photos not matched, FAR 1 %": lambda verdicts: dodged_pairs(verdicts.pairs, "far1"),
    "before": lambda verdicts: dodged_pairs(verdicts.pairs, "far1", "before"),
    "FAR 0.1 %": lambda verdicts: dodged_pairs(verdicts.pairs, "far01"),
    "not rank-1": lambda verdicts: rank_k_misses(verdicts.searches, 1),
    "not rank-1 before": lambda verdicts: rank_k_misses(verdicts.searches, 1, "before"),
    "not rank-5": lambda verdicts: rank_k_misses(verdicts.searches, 5),
    "not rank-5 before": lambda verdicts: rank_k_misses(verdicts.searches, 5, "before"),
}


def write_section(rows: Sequence[PaperRow]) -> str:
    """Impersonation and dodging by recogniser held out, for each run, and all runs beside the published figures.

    Rows with other code, weights, photos or options belong to another run: they never share a figure.
    """
    if not rows:
        return "Not measured yet: `python -m benchmarks paper`."
    runs: dict[tuple[object, ...], list[PaperRow]] = {}
    for row in rows:
        key = (replace(row.setting, face="", method="", hold_out=""), row.measured_with)
        runs.setdefault(key, []).append(row)
    parts = [part for run in runs.values() for part in _write_run(run)]
    parts.append("Impersonation at FAR 1 % by recogniser held out, beside published figures on CelebA-HQ:")
    parts.append(format_table([*(_make_comparison_line(run) for run in runs.values()), *_PUBLISHED_LINES]))
    # Several runs may have the same warnings.
    warnings = (message for row in rows for message in describe_licences(open_store(), row.models, row.recognisers))
    parts += dict.fromkeys(message.text() for message in warnings)
    return "\n\n".join(part for part in parts if part)


def _write_run(rows: Sequence[PaperRow]) -> list[str]:
    """Describe a run, followed by its two tables."""
    parts = [_describe(rows)]
    for method, figures in ((DECOY_METHOD, _IMPERSONATION), (PRODUCT_METHOD, _DODGING)):
        method_rows = [row for row in rows if row.setting.method == method]
        if method_rows:
            verdicts = _collect_verdicts(method_rows)
            lines = [
                _make_line(name, verdicts.select_recogniser(name), figures)
                for name in dict.fromkeys(verdicts.searches["recogniser"])
            ]
            mean = {title: rate_over_families(hits(verdicts)) for title, hits in figures.items()}
            parts.append(format_table([*lines, {"held out": "mean over families", **mean}]))
    return parts


def _collect_verdicts(rows: Sequence[PaperRow]) -> _Verdicts:
    pairs, searches = make_pair_frame(rows), make_identification_frame(rows)
    return _Verdicts(*(frame[frame["role"] == "held-out"] for frame in (pairs, searches)))


def _make_line(
    name: str, verdicts: _Verdicts, figures: dict[str, Callable[[_Verdicts], DataFrame]]
) -> dict[str, object]:
    rates = {title: rate(hits(verdicts)) for title, hits in figures.items()}
    return {"held out": name, **rates, "thresholds": format_thresholds(verdicts.searches.iloc[-1])}


def _describe(rows: Sequence[PaperRow]) -> str:
    setting, labels = rows[0].setting, {row.setting.face for row in rows}
    steps = "" if setting.steps is None else f", {setting.steps} steps"
    families = ", ".join(sorted({row.setting.hold_out for row in rows}))
    missed = len({row.setting.face for row in rows if not row.face_before})
    lost = sum(row.face_before and not row.face_after for row in rows)
    psnr, ssim = (sum(getattr(row, name) for row in rows) / len(rows) for name in ("psnr", "ssim"))
    return (
        f"{len(labels)} photos of {len({parse_person(label) for label in labels})} people, among {rows[0].people}"
        f" people; {len(rows)} pictures, {families} held out in turn ({_name_models(rows[0])},"
        f" “{setting.prompt}”{steps}, strength {setting.strength:g}); no face in {missed} originals and in {lost}"
        " protected pictures; PSNR"
        f" {format_number(psnr, 1)} dB, SSIM {format_number(ssim, 3)}; {_name_version(rows[0])}."
    )


def _name_models(row: PaperRow) -> str:
    """The prior, and the generator and text model that replaced the shipped ones."""
    generator = f" with {' and '.join(row.models.generator)}" if row.models.generator else ""
    clip = f", {row.models.clip}" if row.models.clip != DEFAULT_CLIP else ""
    return f"{row.setting.prior}{generator}{clip}"


def _name_version(row: PaperRow) -> str:
    return f"code {row.code}, weights {row.weights}"


def _make_comparison_line(rows: Sequence[PaperRow]) -> dict[str, object]:
    verdicts = _collect_verdicts([row for row in rows if row.setting.method == DECOY_METHOD])
    names = list(dict.fromkeys(verdicts.searches["recogniser"]))
    rates = {
        _PAPER_NAMES[name]: rate(target_matches(verdicts.select_recogniser(name).searches, "far1"))
        for name in names
        if name in _PAPER_NAMES
    }
    return {
        "method": f"here: {_name_models(rows[0])}, towards the nearest of 16 decoys, {_name_version(rows[0])}",
        "paper": f"held out: {', '.join(names) or NOTHING}",
        **{title: rates.get(title) or NOTHING for title in RECOGNISERS},
        "mean": rate_over_families(target_matches(verdicts.searches, "far1")) or NOTHING,
    }


_PUBLISHED_LINES = [
    {
        "method": entry.method,
        "paper": entry.paper,
        **{title: f"{entry.rates[title]:.0f} %" for title in RECOGNISERS},
        "mean": f"{entry.mean:.0f} %",
    }
    for entry in PUBLISHED
]
