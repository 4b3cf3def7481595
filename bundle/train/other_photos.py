"""Measures how matches with other photos of a person depend on the similarity to the protected photo's own original.

    python -m benchmarks others --strength 0.5          and at other strengths, on the same photos
    PYTHONPATH=.:plugin python bundle/train/other_photos.py
    python bundle/train/manifest_hashes.py

writes bundle/mini/other-photos.json from that benchmark's rows with default settings. It contains only shares and
counts:

- "recognisers": the highest similarity of a protected photo to its own original at which at least four of five matches
  with other photos at FAR 1 % are lost ("up_to"). The share lost is fitted as a non-increasing function of the
  similarity (isotonic regression, photos weighted by their matches), so it holds at "up_to", not only on average below.
  Strengths and roles are pooled. Recognisers with fewer than `ENOUGH` matches are left out. "people_left_out" is a
  cross-validation: the share of a person's matches lost up to the similarity that all other people's photos give. If
  that is below four of five, or fewer than `ENOUGH_LOW` matches are that low, "up_to" is -1: no promise.
- "strengths": the share of matches lost at each strength, held out and white-box, mean over families as in the
  benchmark's report, of photos and held-out families that were measured at all of these strengths.

Run it after all strengths are measured: rows are marked with a hash of the code, which includes its output. Thresholds
are those of bundle/mini/thresholds.json, even if others were used when the rows were measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from benchmarks import rows
from benchmarks.data import person_of
from benchmarks.frames import make_pair_frame
from benchmarks.methods.strengths import PRODUCT_METHOD
from benchmarks.metrics.other_photos import lost_matches, rate_over_families
from benchmarks.rows import OTHERS_FILE, OthersRow
from c2p_core.api import DEFAULT_PROMPT, PRIORS
from c2p_core.models.store import bundle_dir
from c2p_core.recognition.other_photos import LOST_SHARE
from c2p_core.recognition.thresholds import Thresholds, read_thresholds

# Minimum number of matches with other photos per recogniser, and of those at or below "up_to".
ENOUGH, ENOUGH_LOW = 100, 20
# Minimum number of photos per strength.
ENOUGH_PHOTOS = 20
# "up_to" without a promise; no similarity is lower.
NEVER = -1.0

Entry = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """Matches of one protected photo, by one recogniser.

    Attributes:
        photo: such as "p3/2".
        own: similarity to its own original.
        matches: number of other photos of the person that the unprotected photo matches.
        lost: number of those that the protected one no longer matches.
    """

    photo: str
    own: float
    matches: int
    lost: int


def usual(measured: Iterable[OthersRow], thresholds: dict[str, Thresholds]) -> list[OthersRow]:
    """Select the rows with default settings at any strength, one per setting and folder, with these thresholds."""
    kept = {
        (row.photos, row.setting): replace(
            row,
            scores=tuple(
                replace(s, far1=thresholds[s.recogniser].far1, far01=thresholds[s.recogniser].far01)
                for s in row.scores
                if s.recogniser in thresholds
            ),
        )
        for row in measured
    }
    wanted = (PRODUCT_METHOD, DEFAULT_PROMPT, PRIORS[0], None)
    return [
        row
        for row in kept.values()
        if (row.setting.method, row.setting.prompt, row.setting.prior, row.setting.steps) == wanted
    ]


def seen_by(recogniser: str, measured: Iterable[OthersRow]) -> list[Seen]:
    """Collect one recogniser's matches, for photos with a face and at least one match before protection."""
    found = []
    for row in measured:
        for s in row.scores:
            matched = [after for before, after in s.others.values() if before >= s.far1]
            if s.recogniser == recogniser and s.own is not None and matched:
                lost = sum(after is None or after < s.far1 for after in matched)
                found.append(Seen(row.setting.face, s.own, len(matched), lost))
    return found


def lost_up_to(seen: Sequence[Seen]) -> float:
    """The highest similarity to the own original up to which at least `LOST_SHARE` of the matches are lost.

    `NEVER` when there are fewer than `ENOUGH_LOW` matches up to it.
    """
    ordered = sorted(seen, key=lambda s: s.own)
    if not ordered:
        return NEVER
    matches = np.array([s.matches for s in ordered], float)
    shares = np.array([s.lost for s in ordered]) / matches
    fit = isotonic_regression(shares, weights=matches, increasing=False).x
    # A mean of shares may miss 0.8 by a rounding error.
    low = [s for s, share in zip(ordered, fit, strict=True) if share >= LOST_SHARE - 1e-9]
    return low[-1].own if sum(s.matches for s in low) >= ENOUGH_LOW else NEVER


def share_lost(seen: Iterable[Seen]) -> float | None:
    """The share of all matches that are lost; None without matches."""
    found = list(seen)
    matches = sum(s.matches for s in found)
    return sum(s.lost for s in found) / matches if matches else None


def people_left_out(seen: Sequence[Seen]) -> float | None:
    """Leave-one-person-out share lost, up to the similarity that the others' photos give; None if none is so low."""
    found: list[Seen] = []
    for person in sorted({person_of(s.photo) for s in seen}):
        limit = lost_up_to([s for s in seen if person_of(s.photo) != person])
        found += [s for s in seen if person_of(s.photo) == person and s.own <= limit]
    return share_lost(found)


def recogniser_entry(seen: Sequence[Seen]) -> Entry | None:
    """Build the entry of one recogniser; None for too few matches."""
    matches = sum(s.matches for s in seen)
    if matches < ENOUGH:
        return None
    checked = people_left_out(seen)
    up_to = lost_up_to(seen) if checked is not None and checked >= LOST_SHARE else NEVER
    low = [s for s in seen if s.own <= up_to]
    return {
        "up_to": round(up_to, 4),
        "matches": matches,
        "matches_up_to": sum(s.matches for s in low),
        "lost_up_to": _rounded(share_lost(low)),
        "lost_beyond": _rounded(share_lost(s for s in seen if s.own > up_to)),
        "people_left_out": _rounded(checked),
        "photos": len({s.photo for s in seen}),
        "people": len({person_of(s.photo) for s in seen}),
    }


def strength_entries(measured: Sequence[OthersRow]) -> list[Entry]:
    """Build the entries of strengths; those with fewer than `ENOUGH_PHOTOS` photos are left out.

    Raises:
        SystemExit: the strengths have too few photos in common.
    """
    groups: dict[float, dict[tuple[str, str, str], OthersRow]] = {}
    for row in measured:
        s = row.setting
        groups.setdefault(s.strength, {})[row.photos, s.face, s.hold_out] = row
    groups = {strength: found for strength, found in sorted(groups.items()) if _photos(found) >= ENOUGH_PHOTOS}
    if not groups:
        return []
    common = set.intersection(*(set(found) for found in groups.values()))
    if _photos(common) < ENOUGH_PHOTOS:
        raise SystemExit(f"The strengths {', '.join(f'{s:g}' for s in groups)} have too few photos in common.")
    entries = []
    for strength, found in groups.items():
        lost = lost_matches(make_pair_frame(row for key, row in found.items() if key in common), "far1")
        held_out, white_box = (rate_over_families(lost[lost["role"] == role]) for role in ("held-out", "white-box"))
        if held_out is None or white_box is None:
            raise SystemExit(f"No other photo was matched before protection at strength {strength:g}.")
        entries.append(
            {
                "strength": strength,
                "held_out": _rounded(held_out.value),
                "white_box": _rounded(white_box.value),
                "photos": _photos(common),
                "people": len({(photos, person_of(face)) for photos, face, _ in common}),
            }
        )
    return entries


def table(measured: Iterable[OthersRow], thresholds: dict[str, Thresholds]) -> Entry:
    """Build the content of the file.

    Raises:
        SystemExit: there are no rows with the usual settings.
    """
    found = usual(measured, thresholds)
    if not found:
        raise SystemExit("There are no rows with the usual settings; run `python -m benchmarks others`.")
    names = sorted({score.recogniser for row in found for score in row.scores})
    entries = {name: recogniser_entry(seen_by(name, found)) for name in names}
    return {
        "prior": PRIORS[0],
        "recognisers": {
            name: {"far1": thresholds[name].far1, **entry} for name, entry in entries.items() if entry is not None
        },
        "strengths": strength_entries(found),
    }


def _photos(keys: Iterable[tuple[str, str, str]]) -> int:
    return len({(photos, face) for photos, face, _ in keys})


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kept = Path("benchmarks/results") / OTHERS_FILE
    parser.add_argument("--rows", type=Path, nargs="+", default=[kept], metavar="FILE", help=f"instead of {kept}")
    parser.add_argument("--output", type=Path, default=bundle_dir() / "mini" / "other-photos.json")
    arguments = parser.parse_args()
    measured = [row for path in arguments.rows for row in rows.read(path, rows.OthersRow)]
    made = table(measured, read_thresholds(bundle_dir() / "mini" / "thresholds.json"))
    text = json.dumps(made, indent=2, sort_keys=True) + "\n"
    arguments.output.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
