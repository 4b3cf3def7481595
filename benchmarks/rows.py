"""What is kept of a run: one JSON line per measured setting, appended as soon as it is known.

A line that a kill cut short is dropped when the file is read, so a run resumes by measuring what has no line yet.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

Role = Literal["held-out", "white-box"]

NO_FAMILY = "none"
PROTECT_FILE = "protect.jsonl"
NATURAL_FILE = "natural.jsonl"


@dataclass(frozen=True, order=True)
class Setting:
    """What decides one protected picture, and so the key of a row.

    Attributes:
        face: photo name without ending.
        method: key of `methods.METHODS`.
        strength: 0..1.
        hold_out: recogniser family that the search never sees; `NO_FAMILY` for methods that search nothing.
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
        """All of it but face, strength and held-out family, readable: rows of one variant make one table."""
        steps = "" if self.steps is None else f", {self.steps} steps"
        seed = "" if self.seed == 0 else f", seed {self.seed}"
        searched = "" if self.hold_out == NO_FAMILY else f" ({self.prior}, “{self.prompt}”{steps}{seed})"
        return f"{self.method}{searched}"

    @property
    def picture(self) -> Path:
        """Where the protected photo lies in the pictures folder; settings of one folder differ in the face alone."""
        words = "".join(c if c.isalnum() else "-" for c in f"{self.prior}-{self.prompt}")
        parts = (self.method, words, f"steps{self.steps or ''}-seed{self.seed}", f"s{self.strength:g}", self.hold_out)
        return Path(*parts) / f"{self.face}.png"


@dataclass(frozen=True)
class Score:
    """One recogniser's view of one protected face; similarities as in `c2p_core.api.Similarity`."""

    recogniser: str
    family: str
    role: Role
    before: float
    after: float
    far1: float
    far01: float


@dataclass(frozen=True)
class ProtectRow:
    """Protection of one face at one setting.

    Attributes:
        setting: the key.
        scores: one per recogniser; empty when the original or the protected picture shows no face to compare.
        face_before: False when the product found nothing to protect in the original, which counts as a failure.
        face_after: False when no face is found in the protected picture; counts as protected, and is told apart.
        box: (x0, y0, x1, y1) of the face in photo pixels; zeros without a face.
        eye_distance: in photo pixels.
        steps: search steps that were done.
        seconds: of the face's own work as the product reports it.
        wall: seconds of the whole call, model loading included the first time in a process.
        peak_mib: high-water mark of the process's memory until now.
        code: fingerprint of the measured code.
        warnings: of the product.
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


@dataclass(frozen=True)
class NaturalRow:
    """Naturalness of one protected picture; see `benchmarks.metrics` for every figure.

    Attributes:
        mesh_shift, eye_shift: landmarks, in per cent of the eye distance; None when no face is found in the protected
            picture. A detector sees painted eyes elsewhere, though nothing moved.
        flow_shift, flow_eye_shift: the same by optical flow, over the face oval and the eye openings.
        skin_de_mean, skin_de_p95: Delta E 2000.
        patch_face, patch_skin: patchiness after registration; patch_face_raw, patch_skin_raw without.
        The figures of a face are None when the original shows none.
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


Row = TypeVar("Row", ProtectRow, NaturalRow)


def protect_row(data: dict[str, Any]) -> ProtectRow:
    """The row that a parsed JSON line holds."""
    scores = tuple(Score(**score) for score in data.pop("scores"))
    box = data.pop("box")
    return ProtectRow(
        setting=Setting(**data.pop("setting")),
        scores=scores,
        box=(box[0], box[1], box[2], box[3]),
        warnings=tuple(data.pop("warnings")),
        **data,
    )


def natural_row(data: dict[str, Any]) -> NaturalRow:
    """The row that a parsed JSON line holds."""
    return NaturalRow(setting=Setting(**data.pop("setting")), **data)


def read(path: Path, parse: Callable[[dict[str, Any]], Row]) -> list[Row]:
    """All whole rows of a file, in order; none when there is no file. Only the last line may be broken.

    Raises:
        ValueError: a line before the last is no JSON.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    # A whole line ends in a newline, so what follows the last one was cut by a kill.
    return [parse(json.loads(line)) for line in lines[:-1] if line]


def drop_torn_end(path: Path) -> None:
    """Cut what follows the last newline, so that appending starts a line of its own."""
    if not path.exists():
        return
    whole = path.read_bytes()
    end = whole.rfind(b"\n") + 1
    if end < len(whole):
        os.truncate(path, end)


def append(path: Path, row: ProtectRow | NaturalRow) -> None:
    """Add one row and see it to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row), ensure_ascii=False, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def by_setting(rows: Iterable[Row]) -> dict[Setting, Row]:
    """One row a setting; a later one replaces an earlier one."""
    return {row.setting: row for row in rows}
