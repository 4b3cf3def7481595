"""A whole photo: pixels -> faces -> prior.invert -> search -> paste back -> pixels, and what recognisers say of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from c2p_core import verify
from c2p_core.api import (
    DEFAULT_HOLD_OUT,
    PRIORS,
    CancelToken,
    Device,
    Face,
    FaceChoice,
    FaceReport,
    Preview,
    PreviewCallback,
    Progress,
    ProgressCallback,
    ProtectRequest,
    ProtectResult,
)
from c2p_core.card import is_card_memory
from c2p_core.errors import BadRequest, NoFace
from c2p_core.faces import find_again, find_faces_in, landmarks_near, refine_face
from c2p_core.faces.align import Alignment, align
from c2p_core.faces.boxes import GONE, same_face
from c2p_core.faces.canonical import load_mean_face
from c2p_core.faces.canvas import CanvasFace, Change
from c2p_core.faces.detect import TOLERANCE, why_skipped
from c2p_core.faces.layers import layers
from c2p_core.faces.paste import paste
from c2p_core.faces.view import View
from c2p_core.guidance.clip import TextGuidance
from c2p_core.guidance.looks import paints_anything
from c2p_core.imageio import profile_warning
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.priors.checkpoint_files import find_files
from c2p_core.priors.complexion import load_basis
from c2p_core.priors.inversion import OnStep
from c2p_core.priors.inversion_cache import InversionCache, Inversions
from c2p_core.priors.makeup import MakeupPrior
from c2p_core.priors.prior import Prior
from c2p_core.priors.wplus import WPlusPrior, load_networks
from c2p_core.recognition import Recogniser, load_recognisers
from c2p_core.recognition.decoys import load_decoys, nearest
from c2p_core.recognition.other_photos import read_other_photos, stronger
from c2p_core.report import not_every_face
from c2p_core.search import SearchSettings, Target, search
from c2p_core.starting_look import starting_look
from c2p_core.survival import survival

# As the worker's protocol allows.
_LARGEST_SEED = 2**31 - 1
_CPU = torch.device("cpu")
_Loaded = TypeVar("_Loaded")
_Done = TypeVar("_Done")


class WarmModels:
    """Models that stay loaded between runs with one store; for one thread at a time.

    Attributes:
        inversions: where the prior stylegan2 keeps faces.
    """

    def __init__(self, inversions: Inversions | None = None) -> None:
        """``inversions``: on the user's disk when None."""
        self.inversions = inversions or InversionCache()
        self._kept: dict[tuple[object, ...], tuple[object, Any]] = {}

    def get(self, key: tuple[object, ...], load: Callable[[], _Loaded], source: object = None) -> _Loaded:
        """What was loaded for ``key`` before from the same ``source``, else what ``load`` gives."""
        if key not in self._kept or self._kept[key][0] != source:
            # The old one first, or both would need their room.
            self.forget(key)
            self._kept[key] = source, load()
        kept: _Loaded = self._kept[key][1]
        return kept

    def forget(self, key: tuple[object, ...]) -> None:
        """Loads it anew the next time."""
        self._kept.pop(key, None)

    def release(self) -> None:
        """Forgets all of them; models that have come or gone since are noticed by the next run."""
        self._kept.clear()


@dataclass(frozen=True)
class _Models:
    recognisers: tuple[Recogniser, ...]
    optimised: tuple[Recogniser, ...]
    guidance: TextGuidance
    prior: Prior
    decoys: tuple[dict[str, Tensor], ...]

    @property
    def held_out(self) -> tuple[str, ...]:
        return tuple(r.name for r in self.recognisers if r not in self.optimised)


def protect(
    request: ProtectRequest,
    *,
    progress: ProgressCallback | None = None,
    preview: PreviewCallback | None = None,
    cancel: CancelToken | None = None,
    store: ModelStore | None = None,
    warm: WarmModels | None = None,
) -> ProtectResult:
    """Protect the faces of a photo.

    Args:
        request: what to protect and how.
        progress: called at every stage and search step.
        preview: gets each face before its search and about every 15th step.
        cancel: set it from any thread to stop within one step.
        store: where models are; the default store when None.
        warm: keeps the models for the next run; loaded for this run only when None.

    Raises:
        BadRequest: an option has no meaning.
        NoFace: there is no face that can be protected.
        ModelUnavailable: a model is missing and could not be fetched.
        Cancelled: ``cancel`` was set.
    """
    check_request(request)
    settings = SearchSettings()
    if request.steps is not None:
        settings = replace(settings, steps=request.steps)
    kept = warm or WarmModels()
    tools = (progress or (lambda _: None), preview, cancel or CancelToken(), store or ModelStore(), kept)
    warnings = [w for w in (profile_warning(request.photo),) if w]
    device = pick_device(request.device, warnings)

    def protected(device: torch.device, settings: SearchSettings, *said: str) -> ProtectResult:
        return _protected(request, device, settings, [*warnings, *said], *tools)

    return _first_that_fits(
        kept,
        lambda: protected(device, settings),
        lambda: protected(
            device,
            replace(settings, one_recogniser_per_step=True),
            "The graphics card has too little memory; the search asks one recogniser at a time.",
        ),
        lambda: protected(
            _CPU, settings, "The graphics card has too little memory for this photo; the processor protected it."
        ),
    )


def _first_that_fits(kept: WarmModels, *attempts: Callable[[], _Done]) -> _Done:
    """What the first attempt gives that the graphics card has memory for; the last one should need no card."""
    for attempt in attempts[:-1]:
        try:
            return attempt()
        except RuntimeError as error:
            if not is_card_memory(error):
                raise
        # Only now: until here the error held what the attempt had made.
        kept.release()
        torch.cuda.empty_cache()
    return attempts[-1]()


def _protected(
    request: ProtectRequest,
    device: torch.device,
    settings: SearchSettings,
    warnings: list[str],
    tell: ProgressCallback,
    preview: PreviewCallback | None,
    cancel: CancelToken,
    store: ModelStore,
    warm: WarmModels,
) -> ProtectResult:
    """What ``protect`` does, on one device."""
    tell(Progress("detect"))
    photo = View(request.photo)
    faces = find_faces_in(photo, store)
    if any(isinstance(wanted, tuple) for wanted in request.faces):
        faces = _tolerated(faces)
    original = photo if request.original is None else View(request.original)
    faces_before = faces if request.original is None else find_faces_in(original, store)
    chosen = _choose(faces, request.faces, warnings)
    cancel.raise_if_cancelled()

    tell(Progress("load"))

    def preparing(step: int, steps: int) -> None:
        cancel.raise_if_cancelled()
        tell(Progress("prepare", step=step, steps=steps))

    models = _load(request, store, device, warnings, warm, preparing)
    warnings += _prompt_warnings(request.prompt, models.guidance)
    cancel.raise_if_cancelled()

    guidance = models.guidance
    # Text that asks for no product would only pull the light towards what makeup looks like.
    text = (guidance, guidance.direction(request.prompt)) if paints_anything(request.prompt) else None
    changes: list[tuple[Alignment, Change]] = []
    reports = {face.number: FaceReport(face.number, face.box, face.eye_distance, face.skipped) for face in faces}
    unchanged: dict[int, Face] = {}
    seen_before: dict[int, CanvasFace] = {}
    for index, face in enumerate(chosen):
        began = time.perf_counter()

        def stepped(stage: str, step: int = 0, steps: int = 0, at: int = index + 1) -> None:
            tell(Progress(stage, at, len(chosen), step, steps))

        stepped("prepare")
        seen = verify.see(photo, face)
        canvas = CanvasFace(seen.pixels.to(device), seen.mesh.to(device))
        if request.original is None:
            unchanged[face.number], seen_before[face.number] = face, seen
        else:
            there = same_face(face.box, faces_before)
            unchanged[face.number] = there or refine_face(original, face, store)
            seen_before[face.number] = verify.see(original, unchanged[face.number])
        inverted = models.prior.invert(canvas, request.strength, request.keep_expression)
        look = starting_look(request.prompt, inverted.preview, canvas.mesh, guidance, request.seed)
        inverted = inverted.wearing(look)
        own = verify.embeddings(seen_before[face.number], models.optimised, device)

        def looked(step: int, rendered: Tensor, number: int = face.number) -> None:
            if preview is not None:
                preview(Preview(number, step, settings.steps, _as_bytes(rendered)))

        looked(0, seen.pixels)
        found = search(
            inverted,
            canvas,
            inverted.start(),
            models.optimised,
            Target(own, nearest(own, models.decoys)),
            text,
            settings,
            request.seed,
            lambda step, steps, say=stepped: say("search", step, steps),  # type: ignore[misc]
            cancel,
            looked,
            lambda picture, mesh: landmarks_near(picture, mesh, store),
        )
        changes.append((align(face.mesh, face.eye_distance), inverted.change(found.code)))
        reports[face.number] = replace(reports[face.number], steps=found.steps, seconds=time.perf_counter() - began)

    tell(Progress("paste"))
    protected = paste(request.photo, changes)
    made = layers(request.photo, changes) if request.layers else []
    cancel.raise_if_cancelled()
    tell(Progress("verify"))
    after = View(protected)
    for face in chosen:
        # A recogniser that has no detector of its own would still look where the face was.
        again = find_again(after, unchanged[face.number], store) or refine_face(after, face, store)
        rows = verify.similarities(
            seen_before[face.number],
            verify.see(after, again),
            models.recognisers,
            models.held_out,
            device,
        )
        reports[face.number] = replace(reports[face.number], similarities=rows)
    left = [n for n, report in reports.items() if not report.similarities and not report.skipped]
    reports |= {n: replace(reports[n], skipped="not chosen") for n in left}
    named = tuple(replace(layer, face=chosen[layer.face].number) for layer in made)
    more = stronger(read_other_photos(store.path("other-photos")), request)
    return ProtectResult(protected, tuple(reports.values()), tuple(warnings), named, more)


def check(
    original: Photo,
    protected: Photo,
    *,
    store: ModelStore | None = None,
    device: Device = "auto",
    warm: WarmModels | None = None,
    survive: bool = False,
    warnings: list[str] | None = None,
) -> tuple[FaceReport, ...]:
    """What every recogniser that is there says of each face of ``original`` in ``protected``.

    The protected picture may have been resized; faces are matched by where they are. With ``survive`` the reports also
    say what they make of it after ``degradations``. ``warnings`` gets sentences for the user.

    Raises:
        BadRequest: the pictures have different proportions.
        NoFace: the original has no face that can be compared.
    """
    ratio = (protected.width / original.width, protected.height / original.height)
    if abs(ratio[0] / ratio[1] - 1) > 0.02:
        raise BadRequest("The two pictures have different proportions; compare a photo with its own protected copy.")
    store, kept = store or ModelStore(), warm or WarmModels()
    warnings = [] if warnings is None else warnings
    preferred = pick_device(device, warnings)
    first, second = View(original), View(protected)
    before = _tolerated(find_faces_in(first, store))
    if not any(not face.skipped for face in before):
        raise NoFace(_no_face(before))

    def compared(where: torch.device, *said: str) -> tuple[FaceReport, ...]:
        recognisers, _ = _recognisers("auto", store, where, kept)
        reports = []
        for face in before:
            report = FaceReport(face.number, face.box, face.eye_distance, face.skipped)
            if not face.skipped:
                match = find_again(second, _resized(face, ratio), store)
                if match is None:
                    report = replace(report, skipped="no face is found in its place in the second picture")
                else:
                    names = [r.name for r in recognisers]
                    rows = verify.similarities(
                        verify.see(first, face), verify.see(second, match), recognisers, names, where
                    )
                    report = replace(report, similarities=rows)
                    if survive:
                        lasting = survival(original, face, protected, match, recognisers, store, where)
                        report = replace(report, survival=lasting)
            reports.append(report)
        warnings.extend(said)
        return tuple(reports)

    return _first_that_fits(
        kept,
        lambda: compared(preferred),
        lambda: compared(_CPU, "The graphics card has too little memory for this check; the processor did it."),
    )


def warm_up(store: ModelStore, device: Device, warm: WarmModels) -> None:
    """Loads what a usual run needs, so that the first one need not wait for it.

    Raises:
        ModelUnavailable: a model is missing and could not be fetched.
    """
    nothing = Photo(np.zeros((1, 1, 3), np.uint8))
    _load(ProtectRequest(nothing), store, pick_device(device), [], warm)
    find_faces_in(torch.zeros(3, 64, 64), store)


def pick_device(name: Device, warnings: list[str] | None = None) -> torch.device:
    """The device to compute on; ``warnings`` gets a sentence when there is a graphics card that "auto" can't use.

    Raises:
        BadRequest: "cuda" was asked for and is not there, or can't be used.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return _CPU
    if not torch.cuda.is_available():
        raise BadRequest("There is no CUDA device here; use --device cpu or auto.")
    why = _why_not_on_card()
    if why and name == "cuda":
        raise BadRequest(f"There is no CUDA device here that PyTorch can use ({why}); use --device cpu or auto.")
    if why and warnings is not None:
        warnings.append(f"PyTorch can't use the graphics card ({why}); the processor does its work.")
    return _CPU if why else torch.device("cuda")


@cache
def _why_not_on_card() -> str:
    """Why nothing can be computed on the graphics card that PyTorch has found, empty if it can be.

    PyTorch finds cards too that it was built without code for.
    """
    try:
        torch.ones(1, device="cuda").add(1).item()
    except RuntimeError as error:
        if is_card_memory(error):
            return ""  # it works, and another program fills it
        return str(error).partition("\n")[0] or type(error).__name__
    return ""


def check_request(request: ProtectRequest) -> None:
    """Says early what ``protect`` would refuse whatever the photo shows.

    Raises:
        BadRequest: an option has no meaning, "cuda" is not there, or ``original`` has another size than ``photo``.
    """
    pick_device(request.device)
    if not 0.0 <= request.strength <= 1.0:
        raise BadRequest(f"Strength {request.strength:g} has no meaning; it goes from 0 to 1.")
    if request.mode not in ("dodge", "decoy"):
        raise BadRequest(f"There is no mode {request.mode!r}; use dodge or decoy.")
    if request.prior not in PRIORS:
        raise BadRequest(f"There is no prior {request.prior!r}; the priors are {', '.join(PRIORS)}.")
    if request.free_noise and request.prior != "stylegan2":
        raise BadRequest("Only a generator has noise maps to search; use --free-noise with --prior stylegan2.")
    if request.steps is not None and not 1 <= request.steps <= 10_000:
        raise BadRequest(f"{request.steps} steps have no meaning; use 1 to 10000.")
    if not 0 <= request.seed <= _LARGEST_SEED:
        raise BadRequest(f"Seed {request.seed} has no meaning; use 0 to {_LARGEST_SEED}.")
    if len(request.prompt) > 300:
        raise BadRequest("The prompt is longer than 300 characters; a few words are enough.")
    original, photo = request.original, request.photo
    if original is not None and (original.width, original.height) != (photo.width, photo.height):
        raise BadRequest("The original and the edited picture have different sizes; they must cover each other.")


def _tolerated(faces: Sequence[Face]) -> tuple[Face, ...]:
    """Faces without the reason to skip them where they are as large as a face that was chosen elsewhere may be here.

    It may have been measured a little too large there, in a reduced picture, and been let through for a little less.
    """
    return tuple(replace(face, skipped=why_skipped(face.eye_distance, 2 * TOLERANCE)) for face in faces)


def _choose(faces: Sequence[Face], choice: FaceChoice, warnings: list[str]) -> tuple[Face, ...]:
    usable = [face for face in faces if not face.skipped]
    if not usable:
        raise NoFace(_no_face(faces))
    if choice == "all":
        return tuple(usable)
    if choice == "largest":
        return (usable[0],)
    by_number = {face.number: face for face in faces}
    numbers = {wanted for wanted in choice if isinstance(wanted, int)}
    for number in sorted(numbers):
        if number not in by_number:
            raise BadRequest(f"There is no face {number}; the photo has faces 1 to {len(faces)} (see 'c2p faces').")
        if by_number[number].skipped:
            raise BadRequest(f"Face {number} can't be protected: {by_number[number].skipped}.")
    # Of faces that are named by where they were some may be gone; the report has the reason of those that are not.
    placed = [same_face(wanted, faces) for wanted in choice if isinstance(wanted, tuple)]
    numbers |= {face.number for face in placed if face is not None and not face.skipped}
    if not numbers:
        there = [face for face in placed if face is not None]
        raise NoFace(_no_face(there) if there else GONE)
    if None in placed:
        warnings.append(not_every_face(GONE))
    return tuple(by_number[number] for number in sorted(numbers))


def _no_face(faces: Sequence[Face]) -> str:
    if not faces:
        return "No face was found; use a photo in which a face can be seen from the front."
    return f"No face can be protected: {faces[0].skipped}; use a larger version of the photo."


def _load(
    request: ProtectRequest,
    store: ModelStore,
    device: torch.device,
    warnings: list[str],
    warm: WarmModels,
    preparing: OnStep = lambda step, steps: None,
) -> _Models:
    recognisers, missing = _recognisers(request.recognisers, store, device, warm)
    warnings += missing
    optimised = _split(recognisers, request, warnings)
    prior: Prior
    if request.prior == "stylegan2":
        mean_face = load_mean_face(store.path("complexion"))
        own = [(path, path.stat().st_mtime_ns) for path in find_files(store.root) or ()]
        networks = warm.get(("stylegan2", device), lambda: load_networks(store, device), own)
        noise = request.free_noise
        prior = WPlusPrior(networks, mean_face, device, warm.inversions, warnings.append, preparing, free_noise=noise)
    else:
        prior = warm.get(("prior", device), lambda: MakeupPrior(load_basis(store.path("complexion")), device))
    decoys = load_decoys(store.path("decoys"), optimised, device) if request.mode == "decoy" else ()
    guidance = warm.get(("guidance", device), lambda: TextGuidance(store, device))
    return _Models(recognisers, optimised, guidance, prior, decoys)


def _recognisers(
    names: Literal["auto"] | tuple[str, ...], store: ModelStore, device: torch.device, warm: WarmModels
) -> tuple[tuple[Recogniser, ...], list[str]]:
    """The recognisers, and a sentence for each that is missing."""

    def load() -> tuple[tuple[Recogniser, ...], list[str]]:
        missing: list[str] = []
        return load_recognisers(names, store, device, missing), missing

    key = ("recognisers", names, device)
    found = warm.get(key, load)
    if found[1]:
        # What is missing may have come by the next run.
        warm.forget(key)
    return found


def _split(recognisers: tuple[Recogniser, ...], request: ProtectRequest, warnings: list[str]) -> tuple[Recogniser, ...]:
    """The recognisers that the search may ask."""
    hold_out = request.hold_out
    families = {r.family for r in recognisers}
    names = families | {r.name for r in recognisers}
    if hold_out != "auto" and hold_out not in names:
        raise BadRequest(f"There is no recogniser {hold_out!r} to hold out; there are {', '.join(sorted(names))}.")
    if len(families) == 1:
        warnings.append(
            "Only one family of recognisers is here, so that none is left for an honest figure; "
            "run 'c2p models fetch' for the others."
            if request.recognisers == "auto"
            else "All the recognisers that were named are of one family, so that none can be held out for an honest "
            "figure; name one of another family too."
        )
        return recognisers
    if hold_out == "auto":
        hold_out = DEFAULT_HOLD_OUT if DEFAULT_HOLD_OUT in families else recognisers[-1].family
    held_family = next(r.family for r in recognisers if hold_out in (r.family, r.name))
    return tuple(r for r in recognisers if r.family != held_family)


def _prompt_warnings(prompt: str, guidance: TextGuidance) -> list[str]:
    reading = guidance.read_prompt(prompt)
    warnings = [
        f"The word {word!r} means nothing to the text model"
        + (f"; closest known words: {', '.join(closest)}." if closest else ".")
        for word, closest in reading.unknown
    ]
    if prompt.strip() and not reading.known:
        warnings.append(
            "No word of the prompt names makeup, so that none is painted; name a product and a colour, such as red "
            "lipstick."
        )
    return warnings


def _as_bytes(canvas: Tensor) -> NDArray[np.uint8]:
    """(3, H, W) sRGB 0..1 to (H, W, 3) bytes."""
    return (canvas.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def _resized(face: Face, ratio: tuple[float, float]) -> Face:
    """Where the face lies in a picture that was resized by ``ratio`` across and down."""
    mesh = (face.mesh * np.array(ratio)).astype(np.float32)
    return replace(face, mesh=mesh, eye_distance=face.eye_distance * ratio[0])
