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
from benchmarks.data import parse_person
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
class PhotoMatches:
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


def select_default_rows(measured: Iterable[OthersRow], thresholds: dict[str, Thresholds]) -> list[OthersRow]:
    """Select the rows with default settings at any strength, one per setting and folder, with these thresholds."""
    latest = {
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
    default_settings = (PRODUCT_METHOD, DEFAULT_PROMPT, PRIORS[0], None)
    return [
        row
        for row in latest.values()
        if (row.setting.method, row.setting.prompt, row.setting.prior, row.setting.steps) == default_settings
    ]


def collect_matches(recogniser: str, measured: Iterable[OthersRow]) -> list[PhotoMatches]:
    """Collect one recogniser's matches, for photos with a face and at least one match before protection."""
    photo_matches = []
    for row in measured:
        for score in row.scores:
            similarities_after = [after for before, after in score.others.values() if before >= score.far1]
            if score.recogniser == recogniser and score.own is not None and similarities_after:
                lost = sum(after is None or after < score.far1 for after in similarities_after)
                photo_matches.append(PhotoMatches(row.setting.face, score.own, len(similarities_after), lost))
    return photo_matches


def fit_limit(photo_matches: Sequence[PhotoMatches]) -> float:
    """Fit the highest similarity to the own original at which at least `LOST_SHARE` of the matches are lost.

    `NEVER` when there are fewer than `ENOUGH_LOW` matches up to it.
    """
    ordered = sorted(photo_matches, key=lambda s: s.own)
    if not ordered:
        return NEVER
    matches = np.array([s.matches for s in ordered], float)
    shares = np.array([s.lost for s in ordered]) / matches
    fit = isotonic_regression(shares, weights=matches, increasing=False).x
    # A mean of shares may fall short of 0.8 by a rounding error.
    below_limit = [s for s, share in zip(ordered, fit, strict=True) if share >= LOST_SHARE - 1e-9]
    return below_limit[-1].own if sum(s.matches for s in below_limit) >= ENOUGH_LOW else NEVER


def compute_share_lost(photo_matches: Iterable[PhotoMatches]) -> float | None:
    """Compute the share of all matches that are lost; None without matches."""
    listed = list(photo_matches)
    matches = sum(s.matches for s in listed)
    return sum(s.lost for s in listed) / matches if matches else None


def cross_validate_people(photo_matches: Sequence[PhotoMatches]) -> float | None:
    """Leave-one-person-out share lost, up to the limit fitted to the others' photos; None if no match is below it."""
    below_limit: list[PhotoMatches] = []
    for person in sorted({parse_person(s.photo) for s in photo_matches}):
        limit = fit_limit([s for s in photo_matches if parse_person(s.photo) != person])
        below_limit += [s for s in photo_matches if parse_person(s.photo) == person and s.own <= limit]
    return compute_share_lost(below_limit)


def make_recogniser_entry(photo_matches: Sequence[PhotoMatches]) -> Entry | None:
    """Build the entry of one recogniser; None for too few matches."""
    matches = sum(s.matches for s in photo_matches)
    if matches < ENOUGH:
        return None
    cross_validated = cross_validate_people(photo_matches)
    up_to = fit_limit(photo_matches) if cross_validated is not None and cross_validated >= LOST_SHARE else NEVER
    below_limit = [s for s in photo_matches if s.own <= up_to]
    return {
        "up_to": round(up_to, 4),
        "matches": matches,
        "matches_up_to": sum(s.matches for s in below_limit),
        "lost_up_to": _round_share(compute_share_lost(below_limit)),
        "lost_beyond": _round_share(compute_share_lost(s for s in photo_matches if s.own > up_to)),
        "people_left_out": _round_share(cross_validated),
        "photos": len({s.photo for s in photo_matches}),
        "people": len({parse_person(s.photo) for s in photo_matches}),
    }


def make_strength_entries(measured: Sequence[OthersRow]) -> list[Entry]:
    """Build the entries of strengths; those with fewer than `ENOUGH_PHOTOS` photos are left out.

    Raises:
        SystemExit: the strengths have too few photos in common.
    """
    groups: dict[float, dict[tuple[str, str, str], OthersRow]] = {}
    for row in measured:
        s = row.setting
        groups.setdefault(s.strength, {})[row.photos, s.face, s.hold_out] = row
    groups = {
        strength: strength_rows
        for strength, strength_rows in sorted(groups.items())
        if _count_photos(strength_rows) >= ENOUGH_PHOTOS
    }
    if not groups:
        return []
    common = set.intersection(*(set(strength_rows) for strength_rows in groups.values()))
    if _count_photos(common) < ENOUGH_PHOTOS:
        raise SystemExit(f"The strengths {', '.join(f'{s:g}' for s in groups)} have too few photos in common.")
    entries = []
    for strength, strength_rows in groups.items():
        hits = lost_matches(make_pair_frame(row for key, row in strength_rows.items() if key in common), "far1")
        held_out, white_box = (rate_over_families(hits[hits["role"] == role]) for role in ("held-out", "white-box"))
        if held_out is None or white_box is None:
            raise SystemExit(f"No other photo was matched before protection at strength {strength:g}.")
        entries.append(
            {
                "strength": strength,
                "held_out": _round_share(held_out.value),
                "white_box": _round_share(white_box.value),
                "photos": _count_photos(common),
                "people": len({(photos, parse_person(face)) for photos, face, _ in common}),
            }
        )
    return entries


def build_table(measured: Iterable[OthersRow], thresholds: dict[str, Thresholds]) -> Entry:
    """Build the content of the file.

    Raises:
        SystemExit: there are no rows with the usual settings.
    """
    default_rows = select_default_rows(measured, thresholds)
    if not default_rows:
        raise SystemExit("There are no rows with the usual settings; run `python -m benchmarks others`.")
    names = sorted({score.recogniser for row in default_rows for score in row.scores})
    entries = {name: make_recogniser_entry(collect_matches(name, default_rows)) for name in names}
    return {
        "prior": PRIORS[0],
        "recognisers": {
            name: {"far1": thresholds[name].far1, **entry} for name, entry in entries.items() if entry is not None
        },
        "strengths": make_strength_entries(default_rows),
    }


def _count_photos(keys: Iterable[tuple[str, str, str]]) -> int:
    return len({(photos, face) for photos, face, _ in keys})


def _round_share(share: float | None) -> float | None:
    return None if share is None else round(share, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default_path = Path("benchmarks/results") / OTHERS_FILE
    parser.add_argument(
        "--rows", type=Path, nargs="+", default=[default_path], metavar="FILE", help=f"instead of {default_path}"
    )
    parser.add_argument("--output", type=Path, default=bundle_dir() / "mini" / "other-photos.json")
    arguments = parser.parse_args()
    measured = [row for path in arguments.rows for row in rows.read(path, rows.OthersRow)]
    table = build_table(measured, read_thresholds(bundle_dir() / "mini" / "thresholds.json"))
    text = json.dumps(table, indent=2, sort_keys=True) + "\n"
    arguments.output.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
