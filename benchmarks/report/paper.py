"""The report's section on the papers' protocol, with the published figures beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pandas import DataFrame

from benchmarks.data import person_of
from benchmarks.frames import make_identification_frame, make_pair_frame
from benchmarks.methods.strengths import DECOY_METHOD, PRODUCT_METHOD
from benchmarks.metrics.other_photos import rate, rate_over_families
from benchmarks.metrics.paper import among_first, dodged_pairs, missed_by_first, taken_for_target
from benchmarks.models import describe_licences
from benchmarks.recognisers import open_store
from benchmarks.report.published import PUBLISHED, RECOGNISERS
from benchmarks.report.tables import NOTHING, number, table, thresholds
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
class _Judged:
    """What held-out recognisers say: of photos with each other photo of the person, and of photos among everybody."""

    pairs: DataFrame
    searches: DataFrame

    def by(self, recogniser: str) -> _Judged:
        return _Judged(*(frame[frame["recogniser"] == recogniser] for frame in (self.pairs, self.searches)))


_IMPERSONATION: dict[str, Callable[[_Judged], DataFrame]] = {
    "taken for the decoy, FAR 1 %": lambda j: taken_for_target(j.searches, "far1"),
    "before": lambda j: taken_for_target(j.searches, "far1", "before"),
    "FAR 0.1 %": lambda j: taken_for_target(j.searches, "far01"),
    "decoy rank-1": lambda j: among_first(j.searches, "target", 1),
    "decoy rank-5": lambda j: among_first(j.searches, "target", 5),
}
_DODGING: dict[str, Callable[[_Judged], DataFrame]] = {
    "other photos not matched, FAR 1 %": lambda j: dodged_pairs(j.pairs, "far1"),
    "before": lambda j: dodged_pairs(j.pairs, "far1", "before"),
    "FAR 0.1 %": lambda j: dodged_pairs(j.pairs, "far01"),
    "not rank-1": lambda j: missed_by_first(j.searches, 1),
    "not rank-1 before": lambda j: missed_by_first(j.searches, 1, "before"),
    "not rank-5": lambda j: missed_by_first(j.searches, 5),
    "not rank-5 before": lambda j: missed_by_first(j.searches, 5, "before"),
}


def write_section(rows: Sequence[PaperRow]) -> str:
    """Impersonation and dodging by recogniser held out, for each run, and all runs beside the published figures.

    Rows of other code, weights, photos or options are another run: they never share a figure.
    """
    if not rows:
        return "Not measured yet: `python -m benchmarks paper`."
    runs: dict[tuple[object, ...], list[PaperRow]] = {}
    for row in rows:
        key = (
            replace(row.setting, face="", method="", hold_out=""),
            row.measured_with,
        )
        runs.setdefault(key, []).append(row)
    parts = [part for run in runs.values() for part in _write_run(run)]
    parts.append("Impersonation at FAR 1 % by recogniser held out, beside published figures on CelebA-HQ:")
    parts.append(table([*(_own_line(run) for run in runs.values()), *_PUBLISHED_LINES]))
    # Several runs may say the same.
    told = (message for row in rows for message in describe_licences(open_store(), row.models, row.recognisers))
    parts += dict.fromkeys(message.text() for message in told)
    return "\n\n".join(part for part in parts if part)


def _write_run(rows: Sequence[PaperRow]) -> list[str]:
    """What a run covers, and its two tables."""
    found = [_describe(rows)]
    for method, figures in ((DECOY_METHOD, _IMPERSONATION), (PRODUCT_METHOD, _DODGING)):
        own = [row for row in rows if row.setting.method == method]
        if own:
            judged = _judge(own)
            lines = [_line(name, judged.by(name), figures) for name in dict.fromkeys(judged.searches["recogniser"])]
            mean = {title: rate_over_families(hits(judged)) for title, hits in figures.items()}
            found.append(table([*lines, {"held out": "mean over families", **mean}]))
    return found


def _judge(rows: Sequence[PaperRow]) -> _Judged:
    pairs, searches = make_pair_frame(rows), make_identification_frame(rows)
    return _Judged(*(frame[frame["role"] == "held-out"] for frame in (pairs, searches)))


def _line(name: str, judged: _Judged, figures: dict[str, Callable[[_Judged], DataFrame]]) -> dict[str, object]:
    rates = {title: rate(hits(judged)) for title, hits in figures.items()}
    return {"held out": name, **rates, "thresholds": thresholds(judged.searches.iloc[-1])}


def _describe(rows: Sequence[PaperRow]) -> str:
    setting, labels = rows[0].setting, {row.setting.face for row in rows}
    steps = "" if setting.steps is None else f", {setting.steps} steps"
    held = ", ".join(sorted({row.setting.hold_out for row in rows}))
    missed = len({row.setting.face for row in rows if not row.face_before})
    lost = sum(row.face_before and not row.face_after for row in rows)
    psnr, ssim = (sum(getattr(row, name) for row in rows) / len(rows) for name in ("psnr", "ssim"))
    return (
        f"{len(labels)} photos of {len({person_of(label) for label in labels})} people, among {rows[0].people} people;"
        f" {len(rows)} pictures, {held} held out in turn ({_name_models(rows[0])}, “{setting.prompt}”{steps}, strength"
        f" {setting.strength:g}); no face in {missed} originals and in {lost} protected pictures; PSNR"
        f" {number(psnr, 1)} dB, SSIM {number(ssim, 3)}; {_name_version(rows[0])}."
    )


def _name_models(row: PaperRow) -> str:
    """The prior, and what took part in its place of what ships."""
    generator = f" with {' and '.join(row.models.generator)}" if row.models.generator else ""
    clip = f", {row.models.clip}" if row.models.clip != DEFAULT_CLIP else ""
    return f"{row.setting.prior}{generator}{clip}"


def _name_version(row: PaperRow) -> str:
    return f"code {row.code}, weights {row.weights}"


def _own_line(rows: Sequence[PaperRow]) -> dict[str, object]:
    judged = _judge([row for row in rows if row.setting.method == DECOY_METHOD])
    names = list(dict.fromkeys(judged.searches["recogniser"]))
    rates = {
        _PAPER_NAMES[name]: rate(taken_for_target(judged.by(name).searches, "far1"))
        for name in names
        if name in _PAPER_NAMES
    }
    return {
        "method": f"here: {_name_models(rows[0])}, towards the nearest of 16 decoys, {_name_version(rows[0])}",
        "paper": f"held out: {', '.join(names) or NOTHING}",
        **{title: rates.get(title) or NOTHING for title in RECOGNISERS},
        "mean": rate_over_families(taken_for_target(judged.searches, "far1")) or NOTHING,
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
