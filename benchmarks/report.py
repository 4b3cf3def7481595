"""REPORT.md, plots and scores.csv from the rows: every figure of the README comes from here."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median

from c2p_core.files import write_whole

from benchmarks import agreement, curves, fairness, growth, inversion, lasting, plots, priors, rows, searching, threat
from benchmarks.curves import Point
from benchmarks.data import Places
from benchmarks.natural import NATURAL_COLUMNS, expression_figures, form_table, natural_mean, natural_table
from benchmarks.rates import (
    THRESHOLDS,
    Names,
    all_rate,
    escaped,
    held_out_rate,
    held_out_runs,
    recogniser_rate,
    recognisers,
    white_box_rate,
)
from benchmarks.rows import NaturalRow, OthersRow, Person, ProtectRow, SurviveRow
from benchmarks.sweeps import CURVES
from benchmarks.tables import AnySet, Key, by_variant, largest, mean, number, table
from c2p_core.api import DEFAULT_HOLD_OUT, DEFAULT_STRENGTH, PRIORS
from c2p_core.models.store import bundle_dir
from c2p_core.recognition.thresholds import read_thresholds

REPORT_FILE = "REPORT.md"
SCORES_FILE = "scores.csv"
MAIN_METHOD, MAIN_STRENGTH = "c2p", DEFAULT_STRENGTH

Groups = dict[Key, list[ProtectRow]]
NaturalGroups = dict[Key, list[NaturalRow]]


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
    return table([*head, *(f"white-box, {t}" for t in THRESHOLDS), "no face after", "no face before"], lines)


def _recogniser_table(groups: Groups, names: Names) -> str:
    lines = []
    for (variant, strength), group in groups.items():
        for family, found in held_out_runs(group, names).items():
            for name in names[family]:
                scores = [s for row in found for s in row.scores if s.recogniser == name]
                rates = [recogniser_rate(found, name, t) for t in THRESHOLDS.values()]
                limits = f"{scores[0].far1:.3f} / {scores[0].far01:.3f}" if scores else "–"
                after = number(mean(s.after for s in scores), 3)
                before = number(mean(s.before for s in scores), 3)
                lines.append([variant, f"{strength:g}", family, name, *rates, before, after, limits])
    head = ["method", "strength", "family left out", "recogniser", *THRESHOLDS]
    return table([*head, "similarity before", "after", "thresholds"], lines)


def _default_table(groups: Groups, names: Names) -> str:
    """What the program's own choice of whom to hold out gives."""
    lines = []
    for prior in PRIORS:
        main = largest(_of_prior(groups, prior), MAIN_METHOD, MAIN_STRENGTH)
        own = [row for row in main if row.setting.hold_out == DEFAULT_HOLD_OUT]
        for title, threshold in THRESHOLDS.items() if own else ():
            held, white = (f(own, names, threshold) or "–" for f in (held_out_rate, white_box_rate))
            lines.append([prior, title, held, white, all_rate(own, names, threshold)])
    head = ["prior", "threshold", f"{DEFAULT_HOLD_OUT}, held out, misses", "all optimised ones miss", "all miss"]
    return table(head, lines) if lines else ""


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
    return table(
        ["method", "strength", "pictures", "mean, s", "median", "95th percentile", "steps", "peak MiB of a worker"],
        lines,
    )


def _target_table(
    groups: Groups,
    natural: NaturalGroups,
    others: Sequence[OthersRow],
    survive: Sequence[SurviveRow],
    points: Sequence[Point],
    names: Names,
    extra: Sequence[growth.Target],
) -> str:
    lines: list[Sequence[object]] = []
    for prior in PRIORS:
        searched = largest(_of_prior(by_variant(others), prior), MAIN_METHOD, MAIN_STRENGTH)
        lines += [[f"{prior}: {what}", *rest] for what, *rest in threat.targets(searched)]
        lines += _targets_of(prior, _of_prior(groups, prior), natural, _of_prior(by_variant(survive), prior), names)
    # Against some of the baselines it would say nothing.
    for figure in ("ssim", "flip", "patch_face") if {point.method for point in points} >= set(CURVES) else ():
        best, measured = curves.above_all(points, figure)
        title, levels = curves.LEVELS[figure]
        what = f"{title} levels at which the best prior protects more than every baseline"
        lines.append([what, f"all {len(levels)}", f"{best}; measured at {measured}"])
    return table(["figure", "target", "measured"], [*lines, *extra])


def _of_prior(groups: dict[Key, list[AnySet]], prior: str) -> dict[Key, list[AnySet]]:
    return {key: group for key, group in groups.items() if group[0].setting.prior == prior}


def _targets_of(
    prior: str, groups: Groups, natural: NaturalGroups, survive: dict[Key, list[SurviveRow]], names: Names
) -> list[Sequence[object]]:
    """Lines of one prior's figures; none where it was not measured."""
    main = largest(groups, MAIN_METHOD, MAIN_STRENGTH)
    pictures = largest(_of_prior(natural, prior), MAIN_METHOD, MAIN_STRENGTH)
    lines: list[Sequence[object]] = []
    if main:
        far1 = THRESHOLDS["FAR 1 %"]
        lines.append(["held-out PSR at FAR 1 %", "≥ 50 %", held_out_rate(main, names, far1) or "–"])
        lines.append(["white-box PSR at FAR 1 %", "≥ 98 %", white_box_rate(main, names, far1) or "–"])
    rates = lasting.held_out(largest(survive, MAIN_METHOD, MAIN_STRENGTH), names)
    for name in lasting.AIMED if rates else ():
        value = rates[name].value
        change = 100 * (value - rates[lasting.AS_IT_IS].value)
        lines.append([f"held-out PSR after {name}", "within 10 points", f"{100 * value:.0f} % ({change:+.0f})"])
    if pictures:
        reference = largest(natural, "look", MAIN_STRENGTH)
        patch = number(natural_mean(reference, "patch_face"), 2)
        patch_skin = number(natural_mean(reference, "patch_skin"), 2)
        targets = {
            "psnr": "≥ 27",
            "ssim": "≥ 0.955",
            "mesh_shift": "≤ 1.8",
            "eye_shift": "≤ 1",
            "flow_shift": "≤ 3",
            "flow_eye_shift": "≤ 1",
            "skin_de_mean": "≤ 4",
            "patch_face": f"≤ {patch} (random look)",
            "patch_skin": f"≤ {patch_skin} (random look)",
        }
        for name, target in targets.items():
            title, digits = NATURAL_COLUMNS[name]
            lines.append([title, target, number(natural_mean(pictures, name), digits)])
        if form := expression_figures(pictures):
            lines.append(["expression, mean and 95th percentile, %", "≤ 0.8 and 2.2 (goal 0.5 and 1.5)", form])
    return [[f"{prior}: {what}", *rest] for what, *rest in lines]


def _worst(natural: NaturalGroups, groups: Groups, names: Names) -> str:
    """The faces to look at first: highest patchiness, most colour shift, most movement, and those still matched."""
    out = []
    for (variant, strength), group in natural.items():
        if group[0].setting.method != MAIN_METHOD or strength != MAIN_STRENGTH:
            continue
        for figure in ("psnr", "eye_shift", "skin_de_mean", "patch_skin"):
            known = [r for r in group if getattr(r, figure) is not None]
            known.sort(key=lambda r: getattr(r, figure), reverse=figure != "psnr")
            listed = ", ".join(f"{r.setting.face} ({getattr(r, figure):.2f}, {r.setting.hold_out})" for r in known[:5])
            out.append(f"- {variant} {strength:g}, {NATURAL_COLUMNS[figure][0]}: {listed}")
        for family, found in held_out_runs(groups.get((variant, strength), []), names).items():
            far1 = THRESHOLDS["FAR 1 %"]
            matched = [r.setting.face for r in found if not all(escaped(r, n, far1) for n in names[family])]
            out.append(f"- {variant} {strength:g}, still matched by {family}: {', '.join(matched) or 'none'}")
    return "\n".join(out)


def _by_group(groups: Groups, looks: NaturalGroups, people: Mapping[str, Person], names: Names, prior: str) -> str:
    """The table of groups for one prior, and nothing where it has no row."""
    main = largest(_of_prior(groups, prior), MAIN_METHOD, MAIN_STRENGTH)
    seen = largest(_of_prior(looks, prior), MAIN_METHOD, MAIN_STRENGTH)
    return fairness.section(main, seen, people, names) if main else ""


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
- Other photos of the person: each photo of a folder with several photos of several people is protected, and compared
  with the others as they were. Matches lost: of the pairs that matched before, the share that no longer do. Rank-1: how
  often the nearest neighbour of the protected photo, its own original left out, is still the person, among the folder's
  photos, and with the shared validation faces as further strangers. Same photo missed: the photo's own original is no
  longer matched. Both protected: pairs of protected photos that matched before. Means over recognisers of a family,
  then over families, each held out in turn, or searched. What is said of one photo hangs together, so that intervals
  count photos, not pairs. A protected photo without a face matches nothing.
- Expression: mean change of 14 measures (`benchmarks/metrics.py`: heights of brows and mouth corners, lips, mouth
  width, eye openings), landmarks found anew and laid on the eye line, per cent of the eye distance; its 95th percentile
  is over all measures of all pictures, that of the others over pictures. Nose width: per cent of the width between its
  wings.
- Patchiness: root mean square in Lab units of the change between 4 and 32 cells across the face, moved edges registered
  away (`benchmarks/metrics.py`). Reference: a random makeup look without search, in the same strength.
- MS-SSIM by pytorch-msssim. FLIP (NVIDIA, 0 to 1) says how much an eye sees that flips between the two pictures on a
  desktop screen; that of the face is taken after registration.
- Another photo of the same person: three photos of one public figure; each is protected and compared with the others.
  Only comparisons that matched before can be missed. Intervals take comparisons for independent; of one person they are
  not.
- Searched for in a gallery: the protected face is the question; the answers are the person's own original and the faces
  of other people, near duplicates left out. They are of the validation split, which nothing here was trained on. A
  gallery holds as many people as the table says. Settings that were measured without one are not in the table.
- Towards a decoy: the search goes for a made-up person; impersonation succeeds above the FAR 1 % threshold.
- Beside other methods: noise methods change the face alone, ask the same recognisers through the same random
  transformations as often as the product may (`benchmarks/baselines.py`); its looks at where it stands, every 15 steps
  and without gradients, come on top. Between measured strengths straight lines, beyond them nothing. SSIM, PSNR and
  FLIP are means of the whole photo, at the size at which it is stored. They count an edge that moved by half a pixel
  for more than stripes in all colours on skin, as noise makes them; patchiness and the colour shift of skin do not.
- What survives: the face is searched anew in every degraded picture, and compared with the unharmed original. Where an
  unprotected photo is no longer recognised after the same, the degradation protects, not the product. A social network
  makes nothing smaller here, because all of these photos are narrower than 1080 px; 50 and 25 % stand for that.
- Code: a short hash of all code that can change a picture or a figure, so that mending a sentence changes it too.
- Groups: thirds of the measured faces by the individual typology angle of the skin in the original picture, which holds
  the light and the camera too. Labels are search words, mostly absent and noisy.
- Seconds of a run are those of a process with one thread among several; speed and scale are measured one by one."""


def _scores_csv(protect: Sequence[ProtectRow]) -> str:
    """One line per face, method, setting and recogniser."""
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    write(["face", "method", "strength", "hold_out", "prompt", "prior", "steps", "seed", "recogniser", "family", "role",
           "before", "after", "far1", "far01", "rank", "gallery", "decoy_before", "decoy", "code"])  # fmt: skip
    for row in protect:
        key = row.setting
        for s in row.scores:
            figures = [f"{value:.4f}" for value in (s.before, s.after, s.far1, s.far01)]
            decoy = ["" if value is None else f"{value:.4f}" for value in (s.decoy_before, s.decoy)]
            write([key.face, key.method, f"{key.strength:g}", key.hold_out, key.prompt, key.prior, key.steps or "",
                   key.seed, s.recogniser, s.family, s.role, *figures, s.rank or "", row.gallery or "", *decoy,
                   row.code])  # fmt: skip
    return text.getvalue()


def _impostor_stds() -> dict[str, float]:
    """Of each recogniser's similarities of strangers, from the project's own thresholds."""
    known = read_thresholds(bundle_dir() / "mini" / "thresholds.json")
    return {name: thresholds.impostor_std for name, thresholds in known.items()}


def _picture(file: str, words: str) -> str:
    return f"![{words}]({file})\n\n"


def write_report(places: Places) -> Path:
    """Build REPORT.md, its plots and scores.csv beside the rows, and return the report's path.

    Without rows it says so, and draws nothing.
    """
    folder = places.rows
    protect = list(rows.by_setting(rows.read(folder / rows.PROTECT_FILE, rows.protect_row)).values())
    natural = list(rows.by_setting(rows.read(folder / rows.NATURAL_FILE, rows.natural_row)).values())
    survive = list(rows.by_setting(rows.read(folder / rows.SURVIVE_FILE, rows.survive_row)).values())
    pairs = list(rows.by_setting(rows.read(folder / rows.PAIRS_FILE, rows.pair_row)).values())
    others = list(rows.by_setting(rows.read(folder / rows.OTHERS_FILE, rows.others_row)).values())
    protected = rows.by_setting(rows.read(folder / rows.PROTECTED_PAIRS_FILE, rows.protected_pairs_row))
    extra = rows.read(folder / rows.EXTRA_FILE, rows.extra_row)
    people = {person.face: person for person in rows.read(folder / rows.PEOPLE_FILE, rows.person)}
    costs = rows.read(folder / rows.COST_FILE, rows.cost_row)
    names = recognisers(protect)
    groups, looks = by_variant(protect), by_variant(natural)
    points = curves.points(protect, natural, names)

    beside, lasts, grows = curves.section(points), lasting.section(survive, names), growth.section(costs)
    if points:
        plots.curves(points, folder / plots.CURVES_FILE)
        beside = _picture(plots.CURVES_FILE, "Protection over SSIM, PSNR, FLIP and patchiness") + beside
    if survive:
        plots.survival(survive, names, folder / plots.SURVIVAL_FILE)
        lasts = _picture(plots.SURVIVAL_FILE, "Protection after each degradation") + lasts
    if growth.over_faces(costs) or growth.over_megapixels(costs):
        plots.cost(costs, folder / plots.COST_FILE)
        grows = _picture(plots.COST_FILE, "Seconds over faces and over megapixels") + grows

    judged = [row.code for row in protect] + [row.code for row in natural] + [row.code for row in survive]
    codes = sorted({*judged, *(row.code for row in pairs), *(row.code for row in others)})
    mixed = " — rows of different code are mixed here" if len(codes) > 1 else ""
    sections = {
        f"Figures against targets (strength {MAIN_STRENGTH:g})": _target_table(
            groups, looks, others, survive, points, names, growth.targets(costs)
        ),
        "Protection": _protection_table(groups, names),
        f"As users run it (strength {MAIN_STRENGTH:g}, {DEFAULT_HOLD_OUT} held out)": _default_table(groups, names),
        "Both priors side by side": priors.section(groups, looks, names, (MAIN_METHOD, MAIN_STRENGTH)),
        "Other photos of the person": threat.section(others, list(protected.values())),
        "Whom to hold out by default": agreement.section(others, protect, _impostor_stds()),
        "Protection by recogniser left out": _recogniser_table(groups, names),
        "Against another photo of the same person": searching.pairs_section(pairs),
        "Searched for in a gallery": searching.identification_section(protect, names),
        "Towards a decoy": searching.decoy_section(protect, names),
        "Judges from outside": searching.extra_section(extra),
        "Beside other methods, at equal visibility": beside,
        "What survives": lasts,
        "Expression and form (mean / 95th percentile)": form_table(looks),
        "Naturalness (means)": natural_table(looks),
        **{f"By group, prior {prior}": _by_group(groups, looks, people, names, prior) for prior in PRIORS},
        "Time in the runs": _time_table(groups),
        "Speed and scale": grows,
        "Inversion": inversion.section(rows.read(folder / rows.INVERSION_FILE, rows.inversion_row)),
        "Full-size StyleGAN2": priors.fullsize_section(folder / priors.FULLSIZE_FILE),
        "Faces to look at first": _worst(looks, groups, names),
        "How to read this": NOTES,
    }
    text = "# Benchmark report\n\nMade by `python -m benchmarks report` from the rows in this folder"
    text += f" ({len(protect)} protected pictures, code {', '.join(codes) or '–'}{mixed}).\n"
    text += "".join(f"\n## {title}\n\n{body}\n" for title, body in sections.items() if body)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / SCORES_FILE, _scores_csv(protect).encode())
    write_whole(folder / REPORT_FILE, text.encode())
    return folder / REPORT_FILE
