"""The stored results of a run: one JSON line per measured setting, appended as soon as it is complete.

A line that a kill cut short is dropped when the file is read, so a resumed run measures the settings without a line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, is_dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from c2p_core.api import DEFAULT_CLIP, Profile

Role = Literal["held-out", "white-box", "extra"]
# A similarity before and after; None when the protected picture shows no face.
Change = tuple[float, float | None]
MeasuredWith = tuple[tuple[str, ...], str, str, str, "Models"]
"""Recognisers, photos, weights, code and other models of a `PaperRow`."""

NO_FAMILY = "none"
PROTECT_FILE = "protect.jsonl"
NATURAL_FILE = "natural.jsonl"
ROBUSTNESS_FILE = "survive.jsonl"  # as earlier runs named it
PAIRS_FILE = "pairs.jsonl"
OTHERS_FILE = "others.jsonl"
PROTECTED_PAIRS_FILE = "others-protected.jsonl"
EXTRA_FILE = "extra.jsonl"
PEOPLE_FILE = "people.jsonl"
COST_FILE = "cost.jsonl"
INVERSION_FILE = "inversion.jsonl"
COVERED_FILE = "covered.jsonl"
FULLSIZE_FILE = "fullsize.json"
SHOOT_FILE = "shoot.json"
SHOOT_METHODS = ALONE, SHOOT, COLD_SHOOT = "each by itself", "as a shoot", "as a shoot, without warm starts"
"""How the photos of a person are protected for `SHOOT_FILE`."""
SCALE_FILE = "scale.json"
PAPER_FILE = "paper.jsonl"


@dataclass(frozen=True, order=True)
class Setting:
    """The settings that determine one protected picture: the key of a row.

    Attributes:
        face: photo name without extension.
        method: key of `methods.METHODS`.
        strength: 0..1.
        hold_out: recogniser family that the search never uses; `NO_FAMILY` for methods without a search.
        prompt, prior, steps, seed: as in `ProtectRequest`; steps is None for the measured default.
    """

    face: str
    method: str
    strength: float
    hold_out: str
    prompt: str
    prior: str
    steps: int | None
    seed: int

    @property
    def variant(self) -> str:
        """Everything but face, strength and held-out family as text: rows of one variant form one table."""
        steps = "" if self.steps is None else f", {self.steps} steps"
        seed = "" if self.seed == 0 else f", seed {self.seed}"
        searched = "" if self.hold_out == NO_FAMILY else f" ({self.prior}, “{self.prompt}”{steps}{seed})"
        return f"{self.method}{searched}"

    @property
    def picture(self) -> Path:
        """Path of the protected photo in the pictures folder; settings in one folder differ in the face only."""
        options = "".join(c if c.isalnum() else "-" for c in f"{self.prior}-{self.prompt}")
        parts = (self.method, options, f"steps{self.steps or ''}-seed{self.seed}", f"s{self.strength:g}", self.hold_out)
        return Path(*parts) / f"{self.face}.png"


@dataclass(frozen=True)
class Score:
    """One recogniser's results for one protected face; similarities as in `c2p_core.api.Similarity`.

    Attributes:
        role: "extra" for an external recogniser (``--extra-recogniser``), which no search uses.
        rank: rank of the person's own original in a gallery of other people that is searched with the protected face:
            1 if it is the best match. None without a gallery.
        decoy_before, decoy: similarity of the original and of the protected face to the decoy that the search aimed
            at; None without a decoy, or without its embedding for this recogniser.
    """

    recogniser: str
    family: str
    role: Role
    before: float
    after: float
    far1: float
    far01: float
    rank: int | None = None
    decoy_before: float | None = None
    decoy: float | None = None


@dataclass(frozen=True)
class ProtectRow:
    """Protection of one face at one setting.

    Attributes:
        setting: the key.
        scores: one per recogniser; empty when the original or the protected picture shows no face to compare.
        face_before: False when the product detects no usable face in the original, which counts as a failure.
        face_after: False when no face is detected in the protected picture; counts as protected, and separately.
        box: (x0, y0, x1, y1) of the face in photo pixels; zeros without a face.
        eye_distance: in photo pixels.
        steps: completed search steps.
        seconds: time for this face as reported by the product.
        wall: seconds of the whole call, model loading included the first time in a process.
        peak_mib: high-water mark of the process's memory until now.
        code: fingerprint of the measured code.
        warnings: of the product.
        gallery: how many other people the gallery of `Score.rank` holds.
    """

    setting: Setting
    scores: tuple[Score, ...]
    face_before: bool
    face_after: bool
    box: tuple[float, float, float, float]
    eye_distance: float
    steps: int
    seconds: float
    wall: float
    peak_mib: float
    code: str
    warnings: tuple[str, ...] = ()
    gallery: int = 0


@dataclass(frozen=True)
class NaturalRow:
    """Naturalness of one protected picture; see `benchmarks.metrics` for every figure.

    Attributes:
        mesh_shift, eye_shift: landmarks, in per cent of the eye distance; None when no face is found in the protected
            picture. A detector sees painted eyes elsewhere, though nothing moved.
        flow_shift, flow_eye_shift: the same by optical flow, over the face oval and the eye openings.
        skin_de_mean, skin_de_p95: Delta E 2000.
        patch_face, patch_skin: patchiness after registration; patch_face_raw, patch_skin_raw without.
        psnr_face, ssim_face, ms_ssim_face, flip_face: of the face upright on its canvas; flip_face after registration.
        box_overlap: intersection over union of the face's box in the protected picture and in the original; None when
            no face is found there.
        expression_changes: of each of `metrics.EXPRESSION_MEASURES`; None when no face is found in the protected
            picture.
        landmark_shift, nose_width: as `metrics.FormShift` has them; None likewise.
        The figures of a face are None when the original shows none; rows of older runs lack those at the end.
    """

    setting: Setting
    psnr: float
    ssim: float
    mesh_shift: float | None
    eye_shift: float | None
    flow_shift: float | None
    flow_eye_shift: float | None
    skin_de_mean: float | None
    skin_de_p95: float | None
    patch_face: float | None
    patch_skin: float | None
    patch_face_raw: float | None
    patch_skin_raw: float | None
    code: str
    ms_ssim: float | None = None
    flip: float | None = None
    psnr_face: float | None = None
    ssim_face: float | None = None
    ms_ssim_face: float | None = None
    flip_face: float | None = None
    box_overlap: float | None = None
    expression_changes: tuple[float, ...] | None = None
    landmark_shift: float | None = None
    nose_width: float | None = None

    @property
    def expression(self) -> float | None:
        """Mean change over the measures of an expression, in per cent of the eye distance."""
        return None if self.expression_changes is None else fmean(self.expression_changes)


@dataclass(frozen=True)
class RobustnessRow:
    """Protection of one face after the degradations of `c2p_core.robustness`.

    Attributes:
        setting: the key.
        undegraded: the scores of the picture itself; empty as in `ProtectRow`.
        degraded: by degradation, and in the order of ``undegraded``, (before, after): similarity to the unharmed
            original of the original degraded the same way, and of the protected picture degraded. Empty when no face
            is found in the degraded picture, which counts as protected.
        code: fingerprint of the measured code.
    """

    setting: Setting
    undegraded: tuple[Score, ...]
    degraded: dict[str, tuple[tuple[float, float], ...]]
    code: str


@dataclass(frozen=True)
class PairRow:
    """A protected photo against another photo of the same person.

    Attributes:
        setting: the key; ``face`` is the protected photo.
        others: by name of the other photo, its similarity to the unprotected photo (`Score.before`) and to the
            protected one (`Score.after`).
        code: fingerprint of the measured code.
    """

    setting: Setting
    others: dict[str, tuple[Score, ...]]
    code: str


@dataclass(frozen=True)
class OtherScore:
    """One recogniser's similarities of one protected photo to other photos of the person and of other people.

    Attributes:
        role: held out of the search, or used by it.
        others: by other photo of the person, its similarity to this photo before and after its protection; after is
            None when the protected photo shows no face.
        own: similarity of the protected photo to its own original; None when it shows no face.
        nearest: similarity of the most similar photo of anybody else in the folder, before and after.
        stranger: the same among further strangers; None without any.
    """

    recogniser: str
    family: str
    role: Role
    far1: float
    far01: float
    others: dict[str, Change]
    own: float | None = None
    nearest: Change | None = None
    stranger: Change | None = None


@dataclass(frozen=True)
class OthersRow:
    """A protected photo compared with unchanged other photos, as in a search for the person.

    Attributes:
        setting: the key; ``face`` is the number of the person and of the photo, such as "p3/2". No name is kept.
        scores: one per recogniser; empty when the original shows no face.
        natural: figures of the picture.
        strangers: number of people among whom `OtherScore.stranger` is the nearest.
        photos: fingerprint of the folder's photos; rows of another folder are about other people.
        face_before, face_after, box, steps, seconds, wall, code: as in `ProtectRow`.
    """

    setting: Setting
    scores: tuple[OtherScore, ...]
    natural: NaturalRow
    face_before: bool
    face_after: bool
    box: tuple[float, float, float, float]
    steps: int
    seconds: float
    wall: float
    strangers: int
    photos: str
    code: str


@dataclass(frozen=True)
class ProtectedPairsRow:
    """A protected photo compared with protected photos of the same person, as in a gallery of such photos.

    Attributes:
        setting: the key, as in `OthersRow`.
        scores: `OtherScore.others` holds the photos with a higher number, both photos unprotected and both protected;
            nothing else is filled in.
        photos, code: as in `OthersRow`.
    """

    setting: Setting
    scores: tuple[OtherScore, ...]
    photos: str
    code: str


@dataclass(frozen=True)
class Models:
    """The models of a run beside its recognisers; by default those that ship.

    Attributes:
        profile: "embedded" or "full".
        generator: name of the manifest's model; of the user's own, its files. Empty for a prior without a generator.
        clip: the text model, as `ProtectRequest` names it.
    """

    profile: Profile = "embedded"
    generator: tuple[str, ...] = ()
    clip: str = DEFAULT_CLIP


SHIPPED = Models()


@dataclass(frozen=True)
class PaperScore:
    """One recogniser's results for one protected photo in the papers' protocol.

    Attributes:
        role: held out of the search, used by it, or "extra" if it never is and its family is not the one held out.
        others: by other photo of the person, its similarity to this photo before and after its protection; after is
            None when the protected photo shows no face.
        person_rank: place of the person, before and after, when all people of the folder are sorted by their most
            similar photo, this photo itself left out; None where the person has no other photo.
        target: similarity to the decoy that the search aimed at, before and after; None when dodging.
        target_rank: place of the decoy among all people and all decoys; None when dodging.
    """

    recogniser: str
    family: str
    role: Role
    far1: float
    far01: float
    others: dict[str, Change]
    person_rank: tuple[int, int | None] | None = None
    target: Change | None = None
    target_rank: tuple[int, int | None] | None = None


@dataclass(frozen=True)
class PaperRow:
    """A protected photo in the papers' protocol: leave-one-out over some recognisers, dodging or impersonating.

    Attributes:
        setting: the key; ``face`` is the number of the person and of the photo, such as "p3/2". No name is kept; the
            method is "c2p" when dodging and "decoy" when impersonating a synthetic identity.
        recognisers: names of all that took part, part of the key.
        scores: one per recogniser; empty when the original shows no face.
        psnr, ssim: of the whole photo.
        people: of the folder, whose photos show a face.
        photos, code: as in `OthersRow`; face_before, face_after, steps, seconds as in `ProtectRow`.
        weights: fingerprint of the recognisers' embeddings of a picture, and of the models that do not ship.
        models: the others that took part, part of the key.
    """

    setting: Setting
    recognisers: tuple[str, ...]
    scores: tuple[PaperScore, ...]
    psnr: float
    ssim: float
    face_before: bool
    face_after: bool
    steps: int
    seconds: float
    people: int
    photos: str
    weights: str
    code: str
    models: Models = SHIPPED

    @property
    def measured_with(self) -> MeasuredWith:
        """The values, beside the setting, that rows must have in common to share a figure."""
        return self.recognisers, self.photos, self.weights, self.code, self.models


@dataclass(frozen=True)
class ExtraRow:
    """Scores of an external recogniser (``--extra-recogniser``) for a stored picture; ``scores`` as in `ProtectRow`."""

    setting: Setting
    source: str
    scores: tuple[Score, ...]
    face_before: bool
    face_after: bool
    code: str


@dataclass(frozen=True)
class Person:
    """How a person appears in their original photo, for results by group; not how they describe themselves.

    Attributes:
        face: photo name.
        tone: individual typology angle of the skin in degrees (`benchmarks.metrics.skin`), None when no skin is seen.
        label: the person's label in the list of faces; empty without one.
    """

    face: str
    tone: float | None
    label: str


@dataclass(frozen=True)
class CostRow:
    """The cost of one call in a fresh process.

    Attributes:
        portraits: number of portraits in the photo.
        faces: number of protected faces; a portrait may show somebody else in its background.
        megapixels: of the photo.
        limit: of search steps per face; None for the product's default.
        strength: of the request.
        seconds: of ``protect``, with the models in memory, less what it spent in the stage "load".
        stages: seconds by stage of the same call.
        steps: search steps done, over all faces.
        files: seconds for reading the JPEG and writing the result as one.
        cold: seconds of the process's first call (one step), models loaded.
        loaded_mib: high-water mark after that first call on a small photo.
        peak_mib: high-water mark at the end.
        code: fingerprint of the measured code.
        prior: of the request.
        check: seconds of ``check`` with its degradations on the same photo; None where it was not measured.
    """

    portraits: int
    faces: int
    megapixels: float
    limit: int | None
    strength: float
    seconds: float
    stages: dict[str, float]
    steps: int
    files: float
    cold: float
    loaded_mib: float
    peak_mib: float
    code: str
    prior: str = "makeup"
    check: float | None = None


@dataclass(frozen=True)
class InversionRow:
    """How well the prior ``stylegan2`` reproduces one face.

    Attributes:
        face: photo name.
        encoder: PSNR in dB inside the aligned crop of what the encoder estimates.
        tuned: the same after the search in W+ and pivotal tuning.
        seconds: of that search and tuning, in a process with one thread.
        code: fingerprint of the measured code.
    """

    face: str
    encoder: float
    tuned: float
    seconds: float
    code: str


@dataclass(frozen=True)
class CoveredRow:
    """Results for one face with a cover, or without one.

    Attributes:
        face: photo name.
        kind: a key of `covers.KINDS`, or "nothing".
        label: of the photo in the list of faces.
        steps: of the search; None for the product's default.
        code: fingerprint of the measured code.
        covered: share 0..1 of the face that is covered.
        found: share of the cover on the face that the product found; None without a cover.
        invented: share of the rest of the face that the product took for covered.
        painted: pixels on the cover as a share of all pixels that changed visibly; None where the face was skipped.
        unmasked: the same if the product did not look for covers; None where that was not measured.
        touched: share of the cover on the face whose pixels changed visibly.
        similarity: of the protected face to the original, mean over all recognisers; None where nothing was protected.
        similarity_unmasked: the same if the product did not look for covers.
        skipped: why the face was not protected, as a code; "" where it was.
    """

    face: str
    kind: str
    label: str
    steps: int | None
    code: str
    covered: float = 0.0
    found: float | None = None
    invented: float = 0.0
    painted: float | None = None
    unmasked: float | None = None
    touched: float | None = None
    similarity: float | None = None
    similarity_unmasked: float | None = None
    skipped: str = ""


AnyRow = (
    ProtectRow
    | NaturalRow
    | RobustnessRow
    | PairRow
    | OthersRow
    | ProtectedPairsRow
    | PaperRow
    | ExtraRow
    | Person
    | CostRow
    | InversionRow
    | CoveredRow
)
SettingRow = TypeVar(
    "SettingRow", ProtectRow, NaturalRow, RobustnessRow, PairRow, OthersRow, ProtectedPairsRow, ExtraRow
)
Row = TypeVar("Row")


def read(path: Path, kind: type[Row]) -> list[Row]:
    """Read all complete rows of a file, in order; none without a file. Only the last line may be incomplete.

    Args:
        kind: of the rows that the file holds.

    Raises:
        ValueError: a line before the last is no JSON.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    # A complete line ends in a newline; a kill cut off whatever follows the last one.
    return [_decode(kind, json.loads(line)) for line in lines[:-1] if line]


@lru_cache
def _get_field_types(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _decode(kind: Any, value: Any) -> Any:
    """Decode a parsed JSON value for a field of type ``kind``: a dataclass, tuple or dictionary."""
    origin, arguments = get_origin(kind), get_args(kind)
    if value is None:
        return None
    if origin is UnionType:
        return _decode(arguments[0], value)
    if origin is tuple:
        kinds = arguments[:1] * len(value) if arguments[-1] is ... else arguments
        return tuple(_decode(part, item) for part, item in zip(kinds, value, strict=True))
    if origin is dict:
        return {name: _decode(arguments[1], item) for name, item in value.items()}
    if isinstance(kind, type) and is_dataclass(kind):
        types = _get_field_types(kind)
        return kind(**{name: _decode(types[name], item) for name, item in value.items()})
    return value


def drop_incomplete_line(path: Path) -> None:
    """Truncate the file after its last newline, so that appending starts a new line."""
    if not path.exists():
        return
    whole = path.read_bytes()
    end = whole.rfind(b"\n") + 1
    if end < len(whole):
        os.truncate(path, end)


def append(path: Path, row: AnyRow) -> None:
    """Append one row and flush it to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(_round_floats(asdict(row)), ensure_ascii=False, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _round_floats(value: Any) -> Any:
    """Round floats to six digits: more are noise, and the files are committed."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: _round_floats(part) for name, part in value.items()}
    return [_round_floats(part) for part in value] if isinstance(value, list | tuple) else value


def index_by_setting(rows: Iterable[SettingRow]) -> dict[Setting, SettingRow]:
    """Index rows by setting; later rows replace earlier ones."""
    return {row.setting: row for row in rows}


def read_paper(path: Path) -> list[PaperRow]:
    """Read the complete rows of the papers' protocol; the latest for each setting, recognisers, code and models."""
    return list({(row.setting, row.measured_with): row for row in read(path, PaperRow)}.values())


def read_settings(path: Path, kind: type[SettingRow]) -> list[SettingRow]:
    """Read the complete rows of a file, one per setting."""
    return list(index_by_setting(read(path, kind)).values())
