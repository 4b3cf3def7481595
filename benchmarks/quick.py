"""The small suite: a few faces and steps, in three minutes: no sizes of effects, only that each has its sign."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean

from benchmarks import rates, rows, run
from benchmarks.data import places
from benchmarks.process import code_fingerprint
from benchmarks.rows import NaturalRow, ProtectRow, SurviveRow
from c2p_core.api import DEFAULT_PROMPT, DEFAULT_STRENGTH

FACES = 6
STEPS = 20
_STRENGTH = DEFAULT_STRENGTH
_WEAK, _STRONG = 0.1, 0.4


def run_plan(photos: Sequence[Path]) -> run.Plan:
    """What the quick suite measures."""
    return run.Plan(
        photos=tuple(photos),
        methods=("c2p",),
        strengths=(_STRENGTH,),
        hold_out=("mobileface",),
        prompt=DEFAULT_PROMPT,
        prior="makeup",
        steps=STEPS,
        seed=0,
        suites=frozenset({"protect", "natural", "survive"}),
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
        search_among=tuple(photos),
    )


def measure(photos: Sequence[Path], folder: Path, workers: int, say: Callable[[str], None]) -> list[str]:
    """Measure afresh where the code is new, and return a sentence for every effect with the wrong sign."""
    code = code_fingerprint()
    # Rows of other code would say nothing of this one.
    where = places(folder / code)
    with run.pool(workers) as executor:
        outcome = run.run(run_plan(photos), where, code, executor, say)
    if outcome.failed:
        return [f"{outcome.failed} settings could not be measured."]
    return wrong_signs(
        rows.read(where.rows / rows.PROTECT_FILE, rows.protect_row),
        rows.read(where.rows / rows.NATURAL_FILE, rows.natural_row),
        rows.read(where.rows / rows.SURVIVE_FILE, rows.survive_row),
    )


def wrong_signs(
    protect: Sequence[ProtectRow], natural: Sequence[NaturalRow], survive: Sequence[SurviveRow]
) -> list[str]:
    """A sentence for every effect that goes the wrong way."""
    far1 = rates.THRESHOLDS["FAR 1 %"]
    names = rates.recognisers(protect)
    of = {key: [r for r in protect if (r.setting.method, r.setting.strength) == key] for key in _keys(protect)}
    looks = {key: [r for r in natural if (r.setting.method, r.setting.strength) == key] for key in _keys(natural)}

    def similarity(method: str, strength: float, role: str | None = None) -> float:
        found = [s.after for r in of[method, strength] for s in r.scores if role in (None, s.role)]
        return fmean(found) if found else -1.0

    def rate(method: str, strength: float) -> float:
        found = rates.held_out_rate(of[method, strength], names, far1)
        return -1.0 if found is None else found.value

    def psnr(method: str, strength: float) -> float:
        return fmean(r.psnr for r in looks[method, strength])

    ranks = [s.rank for r in of["nothing", _STRENGTH] for s in r.scores]
    nothing, mild = similarity("nothing", _STRENGTH), "JPEG 95"
    kept = [b > s.far1 for r in survive for s, (b, _) in zip(r.undegraded, r.degraded.get(mild, ()), strict=False)]
    moved = [
        abs(a - s.after) for r in survive for s, (_, a) in zip(r.undegraded, r.degraded.get(mild, ()), strict=False)
    ]
    checks = {
        "Doing nothing protects somebody.": rate("nothing", _STRENGTH) == 0.0,
        "Doing nothing changes similarities.": nothing > 0.98,
        "Somebody is not found first by their own photo.": set(ranks) == {1},
        "A black rectangle does not protect everybody.": rate("blackout", _STRENGTH) == 1.0,
        "The search does not lower the similarity for the recognisers it asks.": similarity(
            "c2p", _STRENGTH, "white-box"
        )
        < similarity("look", _STRENGTH) - 0.05,
        "The search does not lower the similarity for the recogniser it never asks.": similarity(
            "c2p", _STRENGTH, "held-out"
        )
        < nothing - 0.02,
        "The search is not seen in the picture.": psnr("c2p", _STRENGTH) < psnr("nothing", _STRENGTH),
        # That it comes nearer to the decoy takes more steps than these.
        "The search towards a decoy does not lead away from the person.": similarity("decoy", _STRENGTH, "white-box")
        < similarity("look", _STRENGTH) - 0.05,
        "Noise by PGD does not lower the similarity for the recognisers it asks.": similarity(
            "pgd", _STRONG, "white-box"
        )
        < nothing - 0.05,
        "More noise does not protect more.": similarity("masked-noise", _STRONG) < similarity("masked-noise", _WEAK),
        "More noise is not seen more.": psnr("masked-noise", _STRONG) < psnr("masked-noise", _WEAK),
        "More blur does not protect more.": similarity("blur", _STRONG) < similarity("blur", _WEAK),
        "More blur is not seen more.": psnr("blur", _STRONG) < psnr("blur", _WEAK),
        "Large pixels do not protect.": similarity("pixelate", _STRONG) < nothing - 0.1,
        "Unprotected photos are not recognised after JPEG 95.": bool(kept) and all(kept),
        "JPEG 95 changes what recognisers say.": bool(moved) and fmean(moved) < 0.05,
    }
    return [sentence for sentence, good in checks.items() if not good]


def _keys(found: Iterable[ProtectRow | NaturalRow]) -> set[tuple[str, float]]:
    return {(row.setting.method, row.setting.strength) for row in found}
