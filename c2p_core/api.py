"""Everything that a run needs or returns, and nothing else.

Coordinates everywhere are continuous pixels: x to the right, y down, pixel (row i, column j) covers
[j, j + 1) x [i, i + 1), so that its centre lies at (j + 0.5, i + 0.5) and scaling a picture scales its coordinates.
"left" and "right" mean the image's left and right, not the person's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from c2p_core.errors import Cancelled
from c2p_core.photo import Layer, Photo

Mode = Literal["dodge", "decoy"]
Device = Literal["auto", "cpu", "cuda"]
Box = tuple[float, float, float, float]
FaceChoice = Literal["all", "largest"] | tuple[int | Box, ...]

PRIORS = ("makeup", "stylegan2")
DEFAULT_PROMPT = "natural makeup"
DEFAULT_STRENGTH = 0.5
# Not the family that is easiest to fool, and of the others the one whose answer goes along best with the rest's. So it
# speaks for recognisers that nobody asked (``benchmarks/results/REPORT.md``, "Whom to hold out by default").
DEFAULT_HOLD_OUT = "dlib"
DEFAULT_IDLE = 600.0  # seconds without work after which the worker ends


@dataclass(frozen=True)
class Face:
    """A face found in a photo.

    Attributes:
        number: 1 for the largest, counting down in size.
        box: (x0, y0, x1, y1) in photo pixels.
        score: detector confidence, 0..1.
        mesh: (468, 2) float32, MediaPipe face-mesh points in photo pixels.
        eye_distance: between the eye centres, in photo pixels.
        skipped: why it can't be protected, empty when it can.
    """

    number: int
    box: tuple[float, float, float, float]
    score: float
    mesh: NDArray[np.float32]
    eye_distance: float
    skipped: str = ""


@dataclass(frozen=True)
class Progress:
    """Where a run is: ``stage`` is one word ("load", "detect", "prepare", "search", "paste", "verify")."""

    stage: str
    face: int = 0
    faces: int = 0
    step: int = 0
    steps: int = 0

    @property
    def fraction(self) -> float:
        """0..1 within the stage."""
        return self.step / self.steps if self.steps else 0.0


@dataclass(frozen=True)
class Preview:
    """How a face looks at a step of its search (step 0: unchanged): (256, 256, 3) uint8 sRGB, upright."""

    face: int
    step: int
    steps: int
    pixels: NDArray[np.uint8]


ProgressCallback = Callable[[Progress], None]
PreviewCallback = Callable[[Preview], None]


class CancelToken:
    """Set from any thread; the run stops within one optimiser step and raises ``Cancelled``."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def raise_if_cancelled(self) -> None:
        if self._event.is_set():
            raise Cancelled("Stopped on request; nothing was changed.")


@dataclass(frozen=True)
class ProtectRequest:
    """Everything that decides the result: on a processor, the same request on the same machine gives the same bytes.

    Attributes:
        photo: what to protect.
        prompt: makeup style in words.
        strength: 0..1, one dial from discreet to the most that a photographer could still use; `docs/strength.md` says
            what it changes.
        mode: "dodge" away from the original, "decoy" towards a synthetic identity.
        faces: "all", "largest", or face numbers as ``c2p faces`` prints them, or boxes (x0, y0, x1, y1) where the
            faces were found before.
        prior: name of the generative prior.
        recognisers: "auto" for all that are present, or names.
        hold_out: recogniser or family that the search never sees and that gives the honest figure; "auto" picks one.
        steps: search steps per face, None for the measured default.
        seed: of every random draw, 0 to 2147483647.
        free_noise: whether the search may also change the generator's noise maps below 512 px; for the prior
            "stylegan2" only.
        device: "auto", "cpu" or "cuda".
        original: the photo before it was protected and edited, of the same size; the search then starts from
            ``photo`` and leads away from the faces of ``original``. None when ``photo`` is the original.
        layers: whether the result is also wanted as one layer per makeup product.
        keep_expression: whether brows, lips, the nose's width and the jaw's outline are held to their form; the eyes
            keep still either way.
    """

    photo: Photo
    prompt: str = DEFAULT_PROMPT
    strength: float = DEFAULT_STRENGTH
    mode: Mode = "dodge"
    faces: FaceChoice = "all"
    prior: str = "makeup"
    recognisers: Literal["auto"] | tuple[str, ...] = "auto"
    hold_out: str = "auto"
    steps: int | None = None
    seed: int = 0
    free_noise: bool = False
    device: Device = "auto"
    original: Photo | None = None
    layers: bool = False
    keep_expression: bool = True


@dataclass(frozen=True)
class Similarity:
    """What one recogniser says of a face before and after.

    Attributes:
        recogniser: its name.
        family: recognisers of one family share training data or architecture and are held out together.
        held_out: True when the search never saw it (always True in ``c2p check``).
        before: cosine similarity of the original with its own upload (JPEG 75), -1..1.
        after: cosine similarity of the protected face with the original, -1..1.
        far1: similarity above which it says "same person" at FAR 1 % (the lower threshold, harder to dodge).
        far01: the same at FAR 0.1 %.
        other_photos_up_to: value of ``after`` up to which at least four of five matches with other photos of the
            person were lost at FAR 1 % when that was measured; -1 where no value was low enough, None where it was not
            measured.
    """

    recogniser: str
    family: str
    held_out: bool
    before: float
    after: float
    far1: float
    far01: float
    other_photos_up_to: float | None = None

    @property
    def verdict(self) -> Literal["protected", "mostly protected", "recognised"]:
        """Of this same photo. Below FAR 1 %: protected; between the thresholds: mostly protected; else recognised."""
        if self.after < self.far1:
            return "protected"
        return "mostly protected" if self.after < self.far01 else "recognised"

    @property
    def other_photos(self) -> Literal["lost", "may match"] | None:
        """Of other photos of the person, which is what somebody has who searches for them; None: not measured."""
        if self.other_photos_up_to is None:
            return None
        return "lost" if self.after <= self.other_photos_up_to else "may match"


@dataclass(frozen=True)
class Stronger:
    """What more strength brought when it was measured, as shares 0..1 of the matches with other photos that were lost.

    Of recognisers that the search never asked, at FAR 1 %.

    Attributes:
        strength, lost: of the run.
        higher, higher_lost: a higher strength and its share.
    """

    strength: float
    lost: float
    higher: float
    higher_lost: float


@dataclass(frozen=True)
class RobustnessResult:
    """What recognisers say of a protected face after something that happens to published pictures.

    Attributes:
        degradation: its name, see ``robustness.DEGRADATIONS``.
        similarities: with the unharmed original; ``before`` is what the original itself scores after the same. Empty
            when no face is found any more.
    """

    degradation: str
    similarities: tuple[Similarity, ...]


@dataclass(frozen=True)
class FaceReport:
    """What happened to one face; ``similarities`` is empty when it was skipped, ``survival`` if nobody asked."""

    number: int
    box: tuple[float, float, float, float]
    eye_distance: float
    skipped: str = ""
    similarities: tuple[Similarity, ...] = ()
    steps: int = 0
    seconds: float = 0.0
    survival: tuple[RobustnessResult, ...] = ()


@dataclass(frozen=True)
class ProtectResult:
    """The protected photo (same size, type and metadata) and one report per face found, in number order.

    Attributes:
        photo: the protected picture.
        faces: one report per face.
        warnings: sentences for the user (unknown prompt words, recognisers that are not there, a useless card).
        layers: the same change as layers, bottom to top, ``face`` being the face's number; only if they were asked for.
        stronger: what more strength brought when it was measured; None where that is not known.
    """

    photo: Photo
    faces: tuple[FaceReport, ...]
    warnings: tuple[str, ...] = ()
    layers: tuple[Layer, ...] = ()
    stronger: Stronger | None = None
