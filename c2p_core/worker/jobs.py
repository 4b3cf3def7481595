"""The worker's jobs: each turns a header and pictures into a result. ``docs/worker-protocol.md`` describes them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch
from worker_client.constants import PROGRESS, PROTOCOL

from c2p_core import compare, errors, pipeline
from c2p_core.api import (
    DEFAULT_CLIP,
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
from c2p_core.io.decode import MIN_SIDE
from c2p_core.io.report import (
    NO_PROMISE,
    OTHER_PHOTOS,
    face_report,
    face_sentence,
    judged_by_other_photos,
    stronger_report,
)
from c2p_core.models import loaded
from c2p_core.models.loaded import WarmModels
from c2p_core.models.store import ModelStore, can_be_fetched
from c2p_core.photo import Photo
from c2p_core.priors.inversion_cache import MemoryInversions
from c2p_core.robustness import UPLOAD_WIDTH, simulate_photo_upload
from c2p_core.search import SearchSettings
from c2p_core.verify import UPLOAD_QUALITY
from c2p_core.version import __version__
from c2p_core.worker.job_header import JobHeader
from c2p_core.worker.job_progress import JobProgress
from c2p_core.worker.protocol import Header, Message, Picture, Tell, pack, unpack
from c2p_core.worker.regions import (
    assign_faces,
    choose_faces,
    describe_face,
    drop_missing_faces,
    filter_reports,
    get_selected_fraction,
    map_client_numbers,
    move_to_layer,
    pick_largest_face,
    plan_regions,
    renumber,
    scale_face,
)
from c2p_core.worker.results import blend_selection, check_selection, pack_result, to_photo, update_similarities

PREVIEW_STEPS = 10
# Fields of a request that are not kept: pixels, and those that the protocol has in another form.
_LEFT_OUT = ("photo", "original", "faces", "layers")


@dataclass(frozen=True)
class _RegionPictures:
    """A region of the layer to protect: its photo and the optional pictures with the same bounds."""

    photo: Picture
    selection: Picture | None
    original: Picture | None


class _NothingVisible(BadRequest):
    """The selection hides the whole change."""


class Jobs:
    """Does jobs, with models that stay loaded."""

    def __init__(self) -> None:
        # Nothing is fetched without the user's consent; the plug-in offers to fetch missing models.
        self._store = ModelStore(offline=True)
        # Inversions show the faces, so they are not written to disk.
        self._warm = WarmModels(MemoryInversions())

    def about(self) -> Header:
        """Describe this process for the hello; loads the models that a default job needs."""
        device = pick_device("auto")
        known = self._known_models()
        # The plug-in offers to fetch missing models, and must be able to connect for that.
        with contextlib.suppress(ModelUnavailable):
            self._warm_up()
        return {
            "device": device.type,
            "device_name": torch.cuda.get_device_name() if device.type == "cuda" else None,
            "cores": os.cpu_count() or 1,
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
        """Load what a default job needs, on the CPU where GPU memory is full; jobs try the GPU again."""
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
        """Do a job; see ``compute.Run``."""
        handlers = {
            "find": self._find,
            "protect": self._protect,
            "preview": self._preview,
            "check": self._check,
            "models": self._models,
        }
        return handlers[job.header["kind"]](JobHeader(job.header), unpack(job), tell, cancel)

    # Faces

    def _find(self, header: JobHeader, pictures: list[Picture], tell: Tell, cancel: CancelToken) -> Message:
        picture = _require_one("photo", pictures)
        selection = next((p for p in pictures if p.name == "selection"), None)
        if selection is not None:
            check_selection(selection, picture)
        height, width = picture.pixels.shape[:2]
        full = header.size("full") or (width, height)
        scale = np.array([full[0] / width, full[1] / height])
        tell(Message(_describe_progress(Progress("detect"), 0.0, None)))
        photo = to_photo(picture)
        found = find_faces(photo, self._store, float(scale.max())) if min(width, height) >= MIN_SIDE else ()
        faces = [scale_face(face, scale) for face in found]
        fractions = [1.0 if selection is None else get_selected_fraction(face, selection.pixels) for face in found]
        chosen = choose_faces(header.face_choice(), faces, fractions)
        return Message(
            {
                "faces": [describe_face(face, fraction) for face, fraction in zip(faces, fractions, strict=True)],
                "chosen": [face.number for face in chosen],
                "regions": plan_regions(chosen, full),
            }
        )

    # Protection

    def _protect(self, header: JobHeader, pictures: list[Picture], tell: Tell, cancel: CancelToken) -> Message:
        output = header.word("output", "single", ("single", "products"))
        began = time.perf_counter()
        regions = _group_regions(pictures)
        request = replace(_build_request(header), layers=output == "products")
        tasks = assign_faces(header.faces(), [region.photo for region in regions])
        reports: list[FaceReport] = []
        warnings: list[errors.Message] = []
        results: list[Picture] = []
        failures: list[NoFace | _NothingVisible] = []
        stronger: Stronger | None = None
        for index, task in enumerate(tasks):
            region = regions[task.index]
            job_progress = JobProgress(index, len(tasks), request.steps or SearchSettings().steps)
            try:
                result = self._protect_region(region, task.choice, request, job_progress, tell, cancel)
            except (NoFace, _NothingVisible) as error:
                # The results of other regions are kept.
                failures.append(error)
                continue
            task = drop_missing_faces(task, result.faces)
            reports += move_to_layer(result.faces, task, region.photo)
            warnings += [w for w in result.warnings if w not in warnings]
            # It depends on the request only, the same for all regions except those that are strengthened.
            stronger = stronger or result.stronger
            results += pack_result(region.photo, result, region.selection, map_client_numbers(result.faces, task))
        if failures and not results:
            raise failures[0]
        reasons = dict.fromkeys(failed.message for failed in failures)
        warnings += [errors.Message("not-every-face", why=why) for why in reasons]
        reports = renumber(reports, tasks)
        return pack(
            {
                **_describe_reports(reports),
                "warnings": _describe_messages(warnings),
                "stronger": stronger_report(stronger, reports),
                "settings": _list_settings(request, reports, output),
                "seconds": round(time.perf_counter() - began, 2),
                "seconds_per_face": _average_seconds(request, reports),
            },
            results,
        )

    def _protect_region(
        self,
        region: _RegionPictures,
        choice: FaceChoice,
        request: ProtectRequest,
        job_progress: JobProgress,
        tell: Tell,
        cancel: CancelToken,
    ) -> ProtectResult:
        """Protect one region; the similarities are those of the picture with the selection applied."""
        photo = to_photo(region.photo)
        if min(photo.width, photo.height) < MIN_SIDE:
            raise NoFace("layer-too-small", width=photo.width, height=photo.height)
        original = None if region.original is None else to_photo(region.original)
        result = pipeline.protect(
            replace(request, photo=photo, faces=choice, original=original),
            progress=lambda p: tell(Message(_describe_progress(p, *job_progress.estimate(p)))),
            cancel=cancel,
            store=self._store,
            warm=self._warm,
        )
        if region.selection is None:
            return result
        pixels = blend_selection(photo.pixels, result.photo.pixels, region.selection.pixels)
        if np.array_equal(pixels, photo.pixels):
            raise _NothingVisible("selection-hides-change")
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
        faces = tuple(update_similarities(face, seen) for face in result.faces)
        return replace(result, faces=faces, warnings=tuple(dict.fromkeys(warnings)))

    def _preview(self, header: JobHeader, pictures: list[Picture], tell: Tell, cancel: CancelToken) -> Message:
        steps = header.integer("steps", PREVIEW_STEPS, 1, 1000)
        request = replace(_build_request(header), steps=steps)
        regions = _group_regions(pictures)
        tasks = assign_faces(header.faces(), [region.photo for region in regions])
        task = pick_largest_face(tasks, [region.photo for region in regions])
        region = regions[task.index]
        seen: list[Preview] = []
        result = pipeline.protect(
            replace(request, photo=to_photo(region.photo), faces=task.choice),
            progress=lambda p: tell(Message(_describe_progress(p, *JobProgress(0, 1, steps).estimate(p)))),
            preview=seen.append,
            cancel=cancel,
            store=self._store,
            warm=self._warm,
        )
        reports = [face for face in move_to_layer(result.faces, task, region.photo) if face.similarities]
        results = [Picture("before", 0, 0, seen[0].pixels), Picture("after", 0, 0, seen[-1].pixels)]
        return pack({**_describe_reports(reports), "warnings": _describe_messages(result.warnings)}, results)

    # Check

    def _check(self, header: JobHeader, pictures: list[Picture], tell: Tell, cancel: CancelToken) -> Message:
        originals = [p for p in pictures if p.name == "original"]
        currents = [p for p in pictures if p.name == "current"]
        if not originals or len(originals) != len(currents):
            raise BadRequest("check-without-pairs")
        device = header.word("device", "auto", ("auto", "cpu", "cuda"))
        upload = header.flag("upload")
        full = header.size("full") or (originals[0].pixels.shape[1], originals[0].pixels.shape[0])
        tasks = assign_faces(header.faces(), originals)
        parts = len(tasks) * (2 if upload else 1)
        current_reports: list[FaceReport] = []
        upload_reports: list[FaceReport] = []
        warnings: list[errors.Message] = []
        for index, task in enumerate(tasks):
            original, current = to_photo(originals[task.index]), to_photo(currents[task.index])
            versions = [(current_reports, current)]
            if upload:
                versions.append((upload_reports, simulate_photo_upload(current, min(1.0, UPLOAD_WIDTH / full[0]))))
            for part, (reports, shown) in enumerate(versions):
                cancel.raise_if_cancelled()
                done = (index * len(versions) + part) / parts
                tell(Message(_describe_progress(Progress("verify", step=0), done, None)))
                compared = compare.check(
                    original,
                    shown,
                    store=self._store,
                    device=device,  # type: ignore[arg-type]
                    warm=self._warm,
                    warnings=warnings,
                )
                reports += move_to_layer(filter_reports(compared, task.choice), task, originals[task.index])
        current_reports, upload_reports = renumber(current_reports, tasks), renumber(upload_reports, tasks)
        answer = {
            **_describe_reports(current_reports),
            "warnings": _describe_messages(dict.fromkeys(warnings)),
        }
        if upload:
            answer["upload"] = {**_describe_reports(upload_reports), "width": UPLOAD_WIDTH, "quality": UPLOAD_QUALITY}
        return Message(answer)

    # Models

    def _models(self, header: JobHeader, pictures: list[Picture], tell: Tell, cancel: CancelToken) -> Message:
        # Shipped models can't be fetched, and must not prevent that others are.
        missing = [e.name for e in self._store.entries() if can_be_fetched(e) and not self._store.is_intact(e.name)]
        wanted = missing if header.wants_all("fetch") else list(header.names("fetch"))
        for name in wanted:
            self._store.entry(name)
        store = ModelStore(offline=bool(os.environ.get("C2P_OFFLINE")))
        for index, name in enumerate(wanted):
            cancel.raise_if_cancelled()

            def report_bytes(done: int, size: int, at: int = index) -> None:
                cancel.raise_if_cancelled()
                fraction = (at + done / max(size, 1)) / len(wanted)
                tell(Message(_describe_progress(Progress("fetch", step=done, steps=size), fraction, None)))

            report_bytes(0, 1)
            store.fetch(name, report_bytes)
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


def _build_request(header: JobHeader) -> ProtectRequest:
    """Build the request for each region; its values are checked by ``validate``."""
    empty = Photo(np.zeros((1, 1, 3), np.uint8))
    steps = header.integer("steps", 0, 0, 10_000)
    return ProtectRequest(
        empty,
        prompt=header.text("prompt", DEFAULT_PROMPT),
        strength=header.number("strength", DEFAULT_STRENGTH, 0, 1),
        mode=header.word("mode", "dodge", get_args(Mode)),  # type: ignore[arg-type]
        prior=header.text("prior", PRIORS[0]),
        clip=header.text("clip", DEFAULT_CLIP),
        recognisers=header.names("recognisers") or "auto",
        hold_out=header.text("hold_out", "auto"),
        steps=steps or None,
        seed=header.integer("seed", 0, 0, 2**31 - 1),
        device=header.word("device", "auto", ("auto", "cpu", "cuda")),  # type: ignore[arg-type]
        keep_expression=header.flag("keep_expression", True),
    )


def _list_settings(request: ProtectRequest, reports: Sequence[FaceReport], output: str) -> dict[str, Any]:
    """List all settings that determined the result, for the layer's parasite."""
    kept = {name: value for name, value in vars(request).items() if name not in _LEFT_OUT}
    kept["steps"] = request.steps or SearchSettings().steps
    done = [{"number": face.number, "box": face.box} for face in reports if face.similarities]
    return {**kept, "output": output, "faces": done, "program": __version__, "protocol": PROTOCOL}


def _describe_reports(reports: Sequence[FaceReport]) -> dict[str, Any]:
    """Describe the measurements, for programs and as sentences."""
    return {
        "faces": [face_report(face) for face in reports],
        "sentences": [
            *(face_sentence(face) for face in reports),
            *([OTHER_PHOTOS] if judged_by_other_photos(reports) else []),
            NO_PROMISE,
        ],
    }


def _describe_messages(messages: Iterable[errors.Message]) -> list[dict[str, Any]]:
    return [message.described() for message in messages]


def _describe_progress(progress: Progress, fraction: float, seconds_left: float | None) -> Header:
    where = {name: getattr(progress, name) for name in ("stage", "face", "faces", "step", "steps")}
    left = None if seconds_left is None else round(seconds_left, 1)
    return {"kind": PROGRESS, **where, "fraction": round(fraction, 4), "seconds_left": left}


def _average_seconds(request: ProtectRequest, reports: Sequence[FaceReport]) -> float | None:
    """Seconds per face, or None if the number of steps was not the default."""
    seconds = [face.seconds for face in reports if face.steps]
    return round(sum(seconds) / len(seconds), 1) if seconds and request.steps is None else None


# Pictures


def _require_one(name: str, pictures: Sequence[Picture]) -> Picture:
    found = [picture for picture in pictures if picture.name == name]
    if len(found) != 1:
        raise BadRequest("pictures-not-one", name=name, count=len(found))
    return found[0]


def _group_regions(pictures: Sequence[Picture]) -> list[_RegionPictures]:
    """Group the pictures of a job into regions."""
    photos = [picture for picture in pictures if picture.name == "photo"]
    if not photos:
        raise BadRequest("photo-not-sent")

    def find_partner(name: str, photo: Picture) -> Picture | None:
        found = next((p for p in pictures if p.name == name and p.bounds == photo.bounds), None)
        if found is None and any(p.name == name for p in pictures):
            raise BadRequest("partner-not-sent", name=name)
        if found is not None and name == "selection":
            check_selection(found, photo)
        return found

    return [
        _RegionPictures(photo, find_partner("selection", photo), find_partner("original", photo)) for photo in photos
    ]
