"""Requests and results.

Coordinates everywhere are continuous pixels: x to the right, y down, pixel (row i, column j) covers
[j, j + 1) x [i, i + 1), so that its centre lies at (j + 0.5, i + 0.5) and scaling a picture scales its coordinates.
"left" and "right" mean the image's left and right, not the person's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from c2p_core.errors import Cancelled, Message
from c2p_core.photo import Layer, Photo
from c2p_core.prior_registry import REGISTRY

Mode = Literal["dodge", "decoy"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Profile = Literal["embedded", "full", "auto"]
Part = Literal["brows", "mouth", "nose", "jaw"]
Box = tuple[float, float, float, float]
FaceChoice = Literal["all", "largest"] | tuple[int | Box, ...]

PRIORS = tuple(REGISTRY)
AUTO: Literal["auto"] = "auto"
"""The value of options that the request leaves to its profile."""
DEFAULT_CLIP = "clip-mini"  # the one that ships
DEFAULT_PROMPT = "natural makeup"
DEFAULT_STRENGTH = 0.5
# Not the easiest to fool. Leaving out arcface, whose verdicts agree best with those of the others, would cost users
# protection against the kind of recogniser that is used most (``docs/figures.md``, the default held-out family).
DEFAULT_HOLD_OUT = "dlib"
DEFAULT_IDLE = 600.0  # seconds without a job after which the worker exits


@dataclass(frozen=True)
class Face:
    """A face found in a photo.

    Attributes:
        number: 1 for the largest, then in order of decreasing size.
        box: (x0, y0, x1, y1) in photo pixels.
        score: detector confidence, 0..1.
        mesh: (468, 2) float32, MediaPipe face-mesh points in photo pixels.
        eye_distance: between the eye centres, in photo pixels.
        skipped: why it can't be protected; None when it can.
    """

    number: int
    box: tuple[float, float, float, float]
    score: float
    mesh: NDArray[np.float32]
    eye_distance: float
    skipped: Message | None = None


@dataclass(frozen=True)
class Progress:
    """The progress of a run; ``stage`` is "detect", "load", "prepare", "search", "paste" or "verify"."""

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
    """A face at a step of its search (step 0: unchanged): (256, 256, 3) uint8 sRGB, upright."""

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
            raise Cancelled("cancelled")


@dataclass(frozen=True)
class Trace:
    """A record of a protected face, for runs on later photos of the same person.

    Like an embedding it identifies the person, and is meant for the memory of one program: nothing here stores it.

    Attributes:
        number: of the face.
        code: the latent code that the search found, by part; empty if it is no longer known.
        protected: (D,) unit embedding of the protected face, by recogniser.
    """

    number: int
    code: Mapping[str, NDArray[np.float32]]
    protected: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class FaceLook:
    """Options of one face that replace those of the request.

    Its prompt is taken literally: without a look of its own, a face gets the variant of the prompt's look that suits
    it best, so that photos of one person could differ.

    Attributes:
        face: its number, or its box.
        prompt, strength, seed, locks: None for the request's.
        earlier: traces of earlier photos of the same person, oldest first. The search then goes on from the code of
            the last one, in fewer steps, and when dodging leads away from all of these protected faces, too.
    """

    face: int | Box
    prompt: str | None = None
    strength: float | None = None
    seed: int | None = None
    locks: tuple[Part, ...] | None = None
    earlier: tuple[Trace, ...] = ()


@dataclass(frozen=True)
class ProtectRequest:
    """Everything that determines the result: on a processor, the same request on the same machine gives the same bytes.

    Attributes:
        photo: the photo to protect.
        prompt: makeup style in words.
        strength: 0..1, from discreet to the strongest that a photographer could still use; see `docs/strength.md`.
        mode: "dodge" away from the original, "decoy" towards a synthetic identity.
        faces: "all", "largest", or face numbers as ``c2p faces`` prints them, or boxes (x0, y0, x1, y1) of faces
            detected earlier.
        profile: which models "auto" stands for in the next three: "embedded" for those that ship, "full" for
            those that the user has fetched, "auto" for "full" if they and a graphics card are available (``profiles``).
        prior: name of the generative prior, see ``prior_registry``.
        clip: the text model: "clip-mini", or MODEL:PRETRAINED of open_clip, where PRETRAINED is a tag of open_clip or
            the path of a file with weights.
        recognisers: "auto" for all of the profile, or names, among which "auto" stands for those. A name may also be
            the location of a recogniser: ``onnx:FILE?size=112`` or ``frbench:MODEL``.
        hold_out: recogniser or family that takes no part in the search, for an unbiased figure; "auto" picks one.
        steps: search steps per face, None for the default.
        seed: seeds every random draw, 0 to 2147483647.
        free_noise: whether the search may also change the generator's noise maps below 512 px; only for the prior
            "stylegan2".
        device: "auto", "cpu", "cuda" or "mps"; "auto" is CUDA if it is usable, else the processor.
        original: the photo before it was protected and edited, of the same size; the search then starts from
            ``photo``, leads away from the faces of ``original``, and moves them no farther from it in total than
            the strength allows. None when ``photo`` is the original.
        layers: whether to return the result also as one layer per makeup product.
        keep_expression: whether brows, lips, the width of the nose and the outline of the jaw keep their shape; the
            eyes do not move in either case.
        locks: parts that shape does not move at all, in either case; light and products may change them.
        references: other, unprotected photos of the people in ``photo``, which somebody searching for them may have;
            the search leads away from these too.
        looks: options of single faces that replace the prompt, strength, seed and locks above.
    """

    photo: Photo
    prompt: str = DEFAULT_PROMPT
    strength: float = DEFAULT_STRENGTH
    mode: Mode = "dodge"
    faces: FaceChoice = "all"
    profile: Profile = "embedded"
    prior: str = AUTO
    clip: str = AUTO
    recognisers: Literal["auto"] | tuple[str, ...] = "auto"
    hold_out: str = "auto"
    steps: int | None = None
    seed: int = 0
    free_noise: bool = False
    device: Device = "auto"
    original: Photo | None = None
    layers: bool = False
    keep_expression: bool = True
    locks: tuple[Part, ...] = ()
    references: tuple[Photo, ...] = ()
    looks: tuple[FaceLook, ...] = ()


@dataclass(frozen=True)
class Similarity:
    """Similarities of a face before and after protection, by one recogniser.

    Attributes:
        recogniser: its name.
        family: recognisers of one family share training data or architecture and are held out together.
        held_out: True when it took no part in the search (always True in ``c2p check``).
        before: cosine similarity of the original to the same picture after upload (JPEG 75), -1..1.
        after: cosine similarity of the protected face to the original, -1..1.
        far1: threshold at FAR 1 %: the recogniser says "same person" above it. The lower threshold, harder to dodge.
        far01: threshold at FAR 0.1 %.
        other_photos_up_to: highest value of ``after`` at which, in our measurements, at least four of five matches with
            other photos of the person were lost at FAR 1 %; -1 if none was low enough, None if it was not measured.
        references: cosine similarity of the original, and of the protected face, to each reference of the request that
            shows the person.
    """

    recogniser: str
    family: str
    held_out: bool
    before: float
    after: float
    far1: float
    far01: float
    other_photos_up_to: float | None = None
    references: tuple[tuple[float, float], ...] = ()

    @property
    def verdict(self) -> Literal["protected", "mostly protected", "recognised"]:
        """For this same photo: below ``far1`` protected, between the thresholds mostly protected, else recognised."""
        if self.after < self.far1:
            return "protected"
        return "mostly protected" if self.after < self.far01 else "recognised"

    @property
    def other_photos(self) -> Literal["lost", "may match"] | None:
        """For other photos of the person, which somebody searching for them has; None if not measured."""
        if self.other_photos_up_to is None:
            return None
        return "lost" if self.after <= self.other_photos_up_to else "may match"


@dataclass(frozen=True)
class Stronger:
    """What a higher strength achieved in our measurements.

    Attributes:
        strength: of the run.
        lost: share 0..1 of matches with other photos that held-out recognisers lost at this strength, at FAR 1 %.
        higher, higher_lost: a higher strength, and the share lost at it.
    """

    strength: float
    lost: float
    higher: float
    higher_lost: float


@dataclass(frozen=True)
class RobustnessResult:
    """Similarities of a protected face after one degradation.

    Attributes:
        degradation: its name, see ``robustness.DEGRADATIONS``.
        similarities: to the original without degradation; ``before`` is the similarity of the degraded original. Empty
            when no face is detected in the degraded picture.
    """

    degradation: str
    similarities: tuple[Similarity, ...]


@dataclass(frozen=True)
class FaceReport:
    """The result for one face; ``similarities`` is empty if it was skipped, ``robustness`` if it was not requested."""

    number: int
    box: tuple[float, float, float, float]
    eye_distance: float
    skipped: Message | None = None
    similarities: tuple[Similarity, ...] = ()
    steps: int = 0
    seconds: float = 0.0
    robustness: tuple[RobustnessResult, ...] = ()


@dataclass(frozen=True)
class Computation:
    """The models and device of a run.

    Attributes:
        profile: "embedded" or "full".
        why: the reason for this profile, for the user.
        prior, clip: as in the request, with "auto" replaced by the profile's.
        device: "cpu", "cuda" or "mps".
        device_name: of the graphics card; None for the processor.
        faces_at_once: how many faces were searched in one batch.
        gpu_bytes: peak use of the graphics card's memory, from loading to the end of the search; None on a processor.
    """

    profile: Profile
    why: Message
    prior: str
    clip: str
    device: str
    device_name: str | None = None
    faces_at_once: int = 1
    gpu_bytes: int | None = None


@dataclass(frozen=True)
class ProtectResult:
    """The result of a run.

    Attributes:
        photo: the protected picture, with the size, type and metadata of the request's.
        faces: one report per detected face, in number order.
        warnings: messages for the user (unknown prompt words, missing recognisers, an unusable graphics card).
        layers: the same change as layers, bottom to top, if they were requested; ``face`` is the face's number.
        stronger: what a higher strength achieved in our measurements; None if unknown.
        traces: of the protected faces named by the request's looks, in number order.
        generated: whether the picture contains generated content, such as makeup, rather than only alterations.
        computation: its models and device; None if the result was not computed here.
    """

    photo: Photo
    faces: tuple[FaceReport, ...]
    warnings: tuple[Message, ...] = ()
    layers: tuple[Layer, ...] = ()
    stronger: Stronger | None = None
    traces: tuple[Trace, ...] = ()
    generated: bool = False
    computation: Computation | None = None
