"""What the worker can do: from a job's header and pictures to a result's. ``docs/worker-protocol.md`` has the words."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch

from c2p_core import compare, pipeline
from c2p_core.api import (
    DEFAULT_PROMPT,
    DEFAULT_STRENGTH,
    PRIORS,
    CancelToken,
    FaceChoice,
    FaceReport,
    Mode,
    Preview,
    Progress,
    ProtectRequest,
    ProtectResult,
    Stronger,
)
from c2p_core.device import pick_device
from c2p_core.errors import BadRequest, ModelUnavailable, NoFace
from c2p_core.faces import find_faces
from c2p_core.gpu_memory import is_out_of_gpu_memory
from c2p_core.guidance.vocabulary import PRESETS
from c2p_core.imageio import MIN_SIDE
from c2p_core.models import loaded
from c2p_core.models.loaded import WarmModels
from c2p_core.models.store import ModelStore, can_be_fetched
from c2p_core.photo import Photo
from c2p_core.priors.inversion_cache import MemoryInversions
from c2p_core.report import (
    NO_PROMISE,
    OTHER_PHOTOS,
    face_report,
    face_sentence,
    judged_by_other_photos,
    not_every_face,
    stronger_report,
)
from c2p_core.robustness import UPLOAD_WIDTH, simulate_photo_upload
from c2p_core.search import SearchSettings
from c2p_core.verify import UPLOAD_QUALITY
from c2p_core.version import __version__
from c2p_core.worker.answer import as_photo, blended, check_cover, measured_again, pictures_of
from c2p_core.worker.fields import Fields
from c2p_core.worker.protocol import PROTOCOL, Header, Message, Picture, Tell, message, pictures
from c2p_core.worker.regions import (
    choose,
    described,
    enlarged,
    largest,
    names,
    numbered,
    on_layer,
    only,
    regions_of,
    selected,
    split,
    still_there,
)
from c2p_core.worker.share import Share

PREVIEW_STEPS = 10
# Of a request: pixels, and what the protocol says in its own words.
_NOT_KEPT = ("photo", "original", "faces", "layers")


@dataclass(frozen=True)
class _Region:
    """A part of the layer that is to be protected: the photo, and what may come with it, all of the same bounds."""

    photo: Picture
    selection: Picture | None
    original: Picture | None


class _NothingLeft(BadRequest):
    """The selection hides all that was changed."""


class Jobs:
    """Does jobs, with models that stay loaded."""

    def __init__(self) -> None:
        # Nothing is fetched behind the user's back; the plug-in offers what is missing.
        self._store = ModelStore(offline=True)
        # On disk they would show the faces.
        self._warm = WarmModels(MemoryInversions())

    def about(self) -> Header:
        """What the hello says of this process; loads the models that a usual job needs."""
        device = pick_device("auto")
        known = self._known_models()
        # What is missing is offered by the plug-in; it must be able to connect for that.
        with contextlib.suppress(ModelUnavailable):
            self._warm_up()
        cores = os.cpu_count() or 1
        return {
            "device": device.type,
            "device_name": torch.cuda.get_device_name() if device.type == "cuda" else f"{cores} processor cores",
            "priors": list(PRIORS),
            "models_folder": str(self._store.root),
            "modes": list(get_args(Mode)),
            "presets": list(PRESETS),
            "defaults": {
                "prompt": DEFAULT_PROMPT,
                "strength": DEFAULT_STRENGTH,
                "keep_expression": True,
                "mode": "dodge",
                "prior": PRIORS[0],
                "steps": SearchSettings().steps,
            },
            "models": {name: known[name] for name in ("present", "missing")},
        }

    def _warm_up(self) -> None:
        """Loads what a usual job needs, for the processor where the card is full; a job tries the card again."""
        try:
            loaded.warm_up(self._store, "auto", self._warm)
            return
        except RuntimeError as error:
            if not is_out_of_gpu_memory(error):
                raise
        self._warm.release()
        torch.cuda.empty_cache()
        loaded.warm_up(self._store, "cpu", self._warm)

    def run(self, job: Message, tell: Tell, cancel: CancelToken) -> Message:
        """Does a job; see ``compute.Run``."""
        does = {
            "find": self._find,
            "protect": self._protect,
            "preview": self._preview,
            "check": self._check,
            "models": self._models,
        }
        return does[job.header["kind"]](Fields(job.header), pictures(job), tell, cancel)

    # Faces

    def _find(self, fields: Fields, sent: list[Picture], tell: Tell, cancel: CancelToken) -> Message:
        picture = _one_named("photo", sent)
        selection = next((p for p in sent if p.name == "selection"), None)
        if selection is not None:
            check_cover(selection, picture)
        height, width = picture.pixels.shape[:2]
        full = fields.size("full") or (width, height)
        scale = np.array([full[0] / width, full[1] / height])
        tell(Message(_progress(Progress("detect"), 0.0, None)))
        found = find_faces(as_photo(picture), self._store) if min(width, height) >= MIN_SIDE else ()
        faces = [enlarged(face, scale) for face in found]
        shares = [1.0 if selection is None else selected(face, selection.pixels) for face in found]
        chosen = choose(fields.choice(), faces, shares)
        return Message(
            {
                "faces": [described(face, share) for face, share in zip(faces, shares, strict=True)],
                "chosen": [face.number for face in chosen],
                "regions": regions_of(chosen, full),
            }
        )

    # Protection

    def _protect(self, fields: Fields, sent: list[Picture], tell: Tell, cancel: CancelToken) -> Message:
        output = fields.word("output", "single", ("single", "products"))
        began = time.perf_counter()
        regions = _sorted_out(sent)
        request = replace(_request(fields), layers=output == "products")
        work = split(fields.faces(), [region.photo for region in regions])
        reports: list[FaceReport] = []
        warnings: list[str] = []
        made: list[Picture] = []
        lost: list[NoFace | _NothingLeft] = []
        stronger: Stronger | None = None
        for index, task in enumerate(work):
            region = regions[task.index]
            share = Share(index, len(work), request.steps or SearchSettings().steps)
            try:
                result = self._protect_region(region, task.choice, request, share, tell, cancel)
            except (NoFace, _NothingLeft) as error:
                # What other regions have cost is not thrown away for it.
                lost.append(error)
                continue
            task = still_there(task, result.faces)
            reports += on_layer(result.faces, task, region.photo)
            warnings += [w for w in result.warnings if w not in warnings]
            # It hangs on what was asked for, which is the same for all regions but those to be strengthened.
            stronger = stronger or result.stronger
            made += pictures_of(region.photo, result, region.selection, names(result.faces, task))
        if lost and not made:
            raise lost[0]
        warnings += [not_every_face(why) for why in dict.fromkeys(map(str, lost))]
        reports = numbered(reports, work)
        return message(
            {
                **_told(reports),
                "warnings": warnings,
                "stronger": stronger_report(stronger, reports),
                "settings": _settings(request, reports, output),
                "seconds": round(time.perf_counter() - began, 2),
                "seconds_per_face": _usual_seconds(request, reports),
            },
            made,
        )

    def _protect_region(
        self,
        region: _Region,
        choice: FaceChoice,
        request: ProtectRequest,
        share: Share,
        tell: Tell,
        cancel: CancelToken,
    ) -> ProtectResult:
        """The result; its figures are those of what the selection leaves of it."""
        photo = as_photo(region.photo)
        if min(photo.width, photo.height) < MIN_SIDE:
            raise NoFace(f"A picture of {photo.width} x {photo.height} pixels has no face; choose a larger layer.")
        original = None if region.original is None else as_photo(region.original)
        result = pipeline.protect(
            replace(request, photo=photo, faces=choice, original=original),
            progress=lambda p: tell(Message(_progress(p, *share.of(p)))),
            cancel=cancel,
            store=self._store,
            warm=self._warm,
        )
        if region.selection is None:
            return result
        pixels = blended(photo.pixels, result.photo.pixels, region.selection.pixels)
        if np.array_equal(pixels, photo.pixels):
            raise _NothingLeft("The selection leaves nothing of the change; select the face, or select nothing.")
        if np.array_equal(pixels, result.photo.pixels):
            return result
        cancel.raise_if_cancelled()
        warnings = list(result.warnings)
        seen = compare.check(
            original or photo,
            photo.with_pixels(pixels),
            store=self._store,
            device=request.device,
            warm=self._warm,
            warnings=warnings,
        )
        faces = tuple(measured_again(face, seen) for face in result.faces)
        return replace(result, faces=faces, warnings=tuple(dict.fromkeys(warnings)))

    def _preview(self, fields: Fields, sent: list[Picture], tell: Tell, cancel: CancelToken) -> Message:
        steps = fields.whole("steps", PREVIEW_STEPS, 1, 1000)
        request = replace(_request(fields), steps=steps)
        regions = _sorted_out(sent)
        work = split(fields.faces(), [region.photo for region in regions])
        task = largest(work, [region.photo for region in regions])
        region = regions[task.index]
        seen: list[Preview] = []
        result = pipeline.protect(
            replace(request, photo=as_photo(region.photo), faces=task.choice),
            progress=lambda p: tell(Message(_progress(p, *Share(0, 1, steps).of(p)))),
            preview=seen.append,
            cancel=cancel,
            store=self._store,
            warm=self._warm,
        )
        reports = [face for face in on_layer(result.faces, task, region.photo) if face.similarities]
        made = [Picture("before", 0, 0, seen[0].pixels), Picture("after", 0, 0, seen[-1].pixels)]
        return message({**_told(reports), "warnings": list(result.warnings)}, made)

    # Check

    def _check(self, fields: Fields, sent: list[Picture], tell: Tell, cancel: CancelToken) -> Message:
        originals = [p for p in sent if p.name == "original"]
        currents = [p for p in sent if p.name == "current"]
        if not originals or len(originals) != len(currents):
            raise BadRequest("A check needs an original and a current picture of each part; send both.")
        device = fields.word("device", "auto", ("auto", "cpu", "cuda"))
        upload = fields.flag("upload")
        full = fields.size("full") or (originals[0].pixels.shape[1], originals[0].pixels.shape[0])
        work = split(fields.faces(), originals)
        parts = len(work) * (2 if upload else 1)
        now: list[FaceReport] = []
        later: list[FaceReport] = []
        warnings: list[str] = []
        for index, task in enumerate(work):
            original, current = as_photo(originals[task.index]), as_photo(currents[task.index])
            versions = [(now, current)]
            if upload:
                versions.append((later, simulate_photo_upload(current, min(1.0, UPLOAD_WIDTH / full[0]))))
            for part, (reports, shown) in enumerate(versions):
                cancel.raise_if_cancelled()
                done = (index * len(versions) + part) / parts
                tell(Message(_progress(Progress("verify", step=0), done, None)))
                found = compare.check(
                    original,
                    shown,
                    store=self._store,
                    device=device,  # type: ignore[arg-type]
                    warm=self._warm,
                    warnings=warnings,
                )
                reports += on_layer(only(found, task.choice), task, originals[task.index])
        now, later = numbered(now, work), numbered(later, work)
        answer = {**_told(now), "warnings": list(dict.fromkeys(warnings))}
        if upload:
            answer["upload"] = {**_told(later), "width": UPLOAD_WIDTH, "quality": UPLOAD_QUALITY}
        return Message(answer)

    # Models

    def _models(self, fields: Fields, sent: list[Picture], tell: Tell, cancel: CancelToken) -> Message:
        # What came with the installation can't be fetched, and must not keep the others from coming.
        missing = [e.name for e in self._store.entries() if can_be_fetched(e) and not self._store.is_intact(e.name)]
        wanted = missing if fields.all_of("fetch") else list(fields.names("fetch"))
        for name in wanted:
            self._store.entry(name)
        store = ModelStore(offline=bool(os.environ.get("C2P_OFFLINE")))
        for index, name in enumerate(wanted):
            cancel.raise_if_cancelled()

            def fetched(done: int, size: int, at: int = index) -> None:
                cancel.raise_if_cancelled()
                fraction = (at + done / max(size, 1)) / len(wanted)
                tell(Message(_progress(Progress("fetch", step=done, steps=size), fraction, None)))

            fetched(0, 1)
            store.fetch(name, fetched)
        if wanted:
            self._warm.release()
        return Message(self._known_models())

    def _known_models(self) -> Header:
        entries = self._store.entries()
        present = {entry.name: self._store.is_intact(entry.name) for entry in entries}
        return {
            "present": [name for name, there in present.items() if there],
            "missing": [
                {
                    "name": entry.name,
                    "role": entry.role,
                    "licence": entry.licence,
                    "size": entry.size,
                    "can_be_fetched": can_be_fetched(entry),
                }
                for entry in entries
                if not present[entry.name]
            ],
            "licences": {entry.name: entry.licence for entry in entries},
        }


# Requests


def _request(fields: Fields) -> ProtectRequest:
    """What to do with each region; ``validate`` checks what the values mean."""
    nothing = Photo(np.zeros((1, 1, 3), np.uint8))
    steps = fields.whole("steps", 0, 0, 10_000)
    return ProtectRequest(
        nothing,
        prompt=fields.text("prompt", DEFAULT_PROMPT),
        strength=fields.number("strength", DEFAULT_STRENGTH, 0, 1),
        mode=fields.word("mode", "dodge", get_args(Mode)),  # type: ignore[arg-type]
        prior=fields.text("prior", PRIORS[0]),
        recognisers=fields.names("recognisers") or "auto",
        hold_out=fields.text("hold_out", "auto"),
        steps=steps or None,
        seed=fields.whole("seed", 0, 0, 2**31 - 1),
        device=fields.word("device", "auto", ("auto", "cpu", "cuda")),  # type: ignore[arg-type]
        keep_expression=fields.flag("keep_expression", True),
    )


def _settings(request: ProtectRequest, reports: Sequence[FaceReport], output: str) -> dict[str, Any]:
    """Everything that decided the result, for the layer's parasite."""
    kept = {name: value for name, value in vars(request).items() if name not in _NOT_KEPT}
    kept["steps"] = request.steps or SearchSettings().steps
    done = [{"number": face.number, "box": face.box} for face in reports if face.similarities]
    return {**kept, "output": output, "faces": done, "program": __version__, "protocol": PROTOCOL}


def _told(reports: Sequence[FaceReport]) -> dict[str, Any]:
    """What was measured, for programs and for people."""
    return {
        "faces": [face_report(face) for face in reports],
        "sentences": [
            *(face_sentence(face) for face in reports),
            *([OTHER_PHOTOS] if judged_by_other_photos(reports) else []),
            NO_PROMISE,
        ],
    }


def _progress(progress: Progress, fraction: float, seconds_left: float | None) -> Header:
    where = {name: getattr(progress, name) for name in ("stage", "face", "faces", "step", "steps")}
    left = None if seconds_left is None else round(seconds_left, 1)
    return {"kind": "progress", **where, "fraction": round(fraction, 4), "seconds_left": left}


def _usual_seconds(request: ProtectRequest, reports: Sequence[FaceReport]) -> float | None:
    """Seconds per face, when the number of steps was the usual one."""
    seconds = [face.seconds for face in reports if face.steps]
    return round(sum(seconds) / len(seconds), 1) if seconds and request.steps is None else None


# Pictures


def _one_named(name: str, sent: Sequence[Picture]) -> Picture:
    found = [picture for picture in sent if picture.name == name]
    if len(found) != 1:
        raise BadRequest(f"{len(found)} pictures named {name!r} were sent and exactly one is needed.")
    return found[0]


def _sorted_out(sent: Sequence[Picture]) -> list[_Region]:
    """The regions that were sent, with what belongs to each."""
    photos = [picture for picture in sent if picture.name == "photo"]
    if not photos:
        raise BadRequest("No photo was sent; there is nothing to protect.")

    def partner(name: str, photo: Picture) -> Picture | None:
        found = next((p for p in sent if p.name == name and p.bounds == photo.bounds), None)
        if found is None and any(p.name == name for p in sent):
            raise BadRequest(f"There is no {name} of the same place and size as each photo; send one for each.")
        if found is not None and name == "selection":
            check_cover(found, photo)
        return found

    return [_Region(photo, partner("selection", photo), partner("original", photo)) for photo in photos]
