"""The small suite: a few faces and steps, in three minutes. It checks only the signs of effects, not their sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from benchmarks import rows
from benchmarks.data import find_run_folders
from benchmarks.fingerprint import fingerprint_code
from benchmarks.frames import make_picture_frame, make_score_frame, select
from benchmarks.metrics.psr import FAR1, compute_escapes, held_out_rate, select_threshold
from benchmarks.rows import NaturalRow, ProtectRow, RobustnessRow
from benchmarks.suites import runner
from c2p_core.api import DEFAULT_PROMPT, DEFAULT_STRENGTH

FACES = 6
STEPS = 20
_STRENGTH = DEFAULT_STRENGTH
_WEAK, _STRONG = 0.1, 0.4


def make_plan(photos: Sequence[Path], search_among: Sequence[Path] = ()) -> runner.Plan:
    """Make the plan of the quick suite; the gallery is ``photos``, or ``search_among`` if given."""
    return runner.Plan(
        photos=tuple(photos),
        methods=("c2p",),
        strengths=(_STRENGTH,),
        hold_out=("mobileface",),
        prompt=DEFAULT_PROMPT,
        prior="makeup",
        steps=STEPS,
        seed=0,
        suites=frozenset({"protect", "natural", "robustness"}),
        curves={
            "decoy": (_STRENGTH,),
            "pgd": (_STRONG,),
            "masked-noise": (_WEAK, _STRONG),
            "look": (_STRENGTH,),
            "blur": (_WEAK, _STRONG),
            "pixelate": (_STRONG,),
            "nothing": (_STRENGTH,),
            "blackout": (_STRENGTH,),
        },
        curve_photos=tuple(photos),
        search_among=tuple(search_among or photos),
    )


def measure(
    photos: Sequence[Path],
    folder: Path,
    workers: int,
    log: Callable[[str], None],
    search_among: Sequence[Path] = (),
) -> list[str]:
    """Measure if the code has changed, and return a sentence for every effect with the wrong sign."""
    code = fingerprint_code()
    # Rows of other code do not apply to this one.
    folders = find_run_folders(folder / code)
    with runner.start_pool(workers) as executor:
        outcome = runner.run(make_plan(photos, search_among), folders, code, executor, log)
    if outcome.failed:
        return [f"{outcome.failed} settings could not be measured."]
    return find_wrong_signs(
        rows.read(folders.rows / rows.PROTECT_FILE, rows.ProtectRow),
        rows.read(folders.rows / rows.NATURAL_FILE, rows.NaturalRow),
        rows.read(folders.rows / rows.ROBUSTNESS_FILE, rows.RobustnessRow),
    )


def find_wrong_signs(
    protect: Sequence[ProtectRow], natural: Sequence[NaturalRow], robustness: Sequence[RobustnessRow]
) -> list[str]:
    """A sentence for every effect that goes the wrong way."""
    escaped = select_threshold(compute_escapes(protect), FAR1)
    scores = make_score_frame((row, row.scores) for row in protect)
    looks = make_picture_frame(natural, "psnr")

    def similarity(method: str, strength: float, role: str | None = None) -> float:
        matching = select(scores, method=method, strength=strength)
        similarities = matching["after"][matching["role"] == role] if role else matching["after"]
        # Without a detected face, there is no match.
        return float(similarities.mean()) if len(similarities) else -1.0

    def rate(method: str, strength: float) -> float | None:
        held_out = held_out_rate(select(escaped, method=method, strength=strength))
        return None if held_out is None else held_out.value

    def psnr(method: str, strength: float) -> float:
        return float(select(looks, method=method, strength=strength)["psnr"].mean())

    ranks = select(scores, method="nothing", strength=_STRENGTH)["rank"]
    nothing = similarity("nothing", _STRENGTH)
    jpeg_95 = [
        (before > s.far1, abs(after - s.after))
        for row in robustness
        for s, (before, after) in zip(row.undegraded, row.degraded.get("JPEG 95", ()), strict=False)
    ]
    checks = {
        "Doing nothing protects somebody.": rate("nothing", _STRENGTH) == 0.0,
        "Doing nothing changes similarities.": nothing > 0.98,
        "Somebody is not found first by their own photo.": set(ranks) == {1},
        "A black rectangle does not protect everybody.": rate("blackout", _STRENGTH) == 1.0,
        "The search does not lower the similarity for the recognisers it is run against.": similarity(
            "c2p", _STRENGTH, "white-box"
        )
        < similarity("look", _STRENGTH) - 0.05,
        "The search does not lower the similarity for the recogniser held out.": similarity(
            "c2p", _STRENGTH, "held-out"
        )
        < nothing - 0.02,
        "The search is not seen in the picture.": psnr("c2p", _STRENGTH) < psnr("nothing", _STRENGTH),
        # It takes more steps than these to come nearer to the decoy.
        "The search towards a decoy does not lead away from the person.": similarity("decoy", _STRENGTH, "white-box")
        < similarity("look", _STRENGTH) - 0.05,
        "Noise by PGD does not lower the similarity for the recognisers it is run against.": similarity(
            "pgd", _STRONG, "white-box"
        )
        < nothing - 0.05,
        "More noise does not protect more.": similarity("masked-noise", _STRONG) < similarity("masked-noise", _WEAK),
        "More noise is not seen more.": psnr("masked-noise", _STRONG) < psnr("masked-noise", _WEAK),
        "More blur does not protect more.": similarity("blur", _STRONG) < similarity("blur", _WEAK),
        "More blur is not seen more.": psnr("blur", _STRONG) < psnr("blur", _WEAK),
        "Large pixels do not protect.": similarity("pixelate", _STRONG) < nothing - 0.1,
        "Unprotected photos are not recognised after JPEG 95.": bool(jpeg_95)
        and all(is_recognised for is_recognised, _ in jpeg_95),
        "JPEG 95 changes what recognisers say.": bool(jpeg_95) and fmean(change for _, change in jpeg_95) < 0.05,
    }
    return [sentence for sentence, holds in checks.items() if not holds]
