"""The worker's jobs, each of which turns a header and pictures into a result (``docs/worker-protocol.md``)."""

from __future__ import annotations

import contextlib
import os
from typing import get_args

import numpy as np
import torch

from c2p_core import compare, errors
from c2p_core.api import (
    DEFAULT_PROMPT,
    DEFAULT_STRENGTH,
    PRIORS,
    CancelToken,
    Device,
    FaceReport,
    Mode,
    Part,
    Progress,
)
from c2p_core.device import name_device, pick_device, release_memory
from c2p_core.errors import BadRequest, ModelUnavailable
from c2p_core.faces import find_faces
from c2p_core.gpu_memory import is_out_of_gpu_memory
from c2p_core.guidance.vocabulary import PRESETS
from c2p_core.io.decode import MIN_SIDE
from c2p_core.models import loaded
from c2p_core.models.loaded import WarmModels
from c2p_core.models.store import ModelStore
from c2p_core.priors.inversion_cache import MemoryInversions
from c2p_core.profiles import choose_default
from c2p_core.robustness import UPLOAD_WIDTH, simulate_photo_upload
from c2p_core.search import SearchSettings
from c2p_core.sketch import show_photo
from c2p_core.verify import UPLOAD_QUALITY
from c2p_core.worker.areas import (
    assign_faces,
    choose_faces,
    describe_face,
    filter_reports,
    get_selected_fraction,
    move_to_layer,
    plan_areas,
    renumber,
    scale_face,
)
from c2p_core.worker.job_answer import describe_faces, describe_messages, describe_progress
from c2p_core.worker.job_header import JobHeader
from c2p_core.worker.job_request import require_one
from c2p_core.worker.protection import Protection
from c2p_core.worker.protocol import Header, Message, Picture, Send, pack, unpack
from c2p_core.worker.results import check_selection, to_photo


class Jobs:
    """Runs jobs, with models that stay loaded."""

    def __init__(self, store: ModelStore | None = None) -> None:
        # Nothing is fetched without the user's consent; the plug-in offers to fetch missing models.
        self._store = store or ModelStore(offline=True)
        # Inversions show the faces, so they are never written to disk.
        self._warm = WarmModels(MemoryInversions())
        self._protection = Protection(self._store, self._warm)

    def describe(self) -> Header:
        """Describe this process for the hello message; loads the models that a default job needs."""
        device = pick_device("auto")
        models = self._known_models()
        # The plug-in offers to fetch missing models, and must be able to connect for that.
        with contextlib.suppress(ModelUnavailable, BadRequest):
            self._warm_up()
        return {
            "device": device.type,
            "device_name": name_device(device),
            "cores": os.cpu_count() or 1,
            "profile": self._describe_profile(device),
            "priors": list(PRIORS),
            "models_folder": str(self._store.root),
            "modes": list(get_args(Mode)),
            "parts": list(get_args(Part)),
            "presets": list(PRESETS),
            "defaults": {
                "prompt": DEFAULT_PROMPT,
                "strength": DEFAULT_STRENGTH,
                "keep_expression": True,
                "locks": [],
                "mode": "dodge",
                "prior": PRIORS[0],
                "steps": SearchSettings().steps,
            },
            "models": {name: models[name] for name in ("present", "missing")},
        }

    def _describe_profile(self, device: torch.device) -> Header:
        """Describe the profile of jobs that name none, or the problem with it."""
        try:
            choice = choose_default(self._store, device)
        except errors.C2PError as error:
            return {"name": None, "why": error.message.described()}
        return {"name": choice.request.profile, "why": choice.why.described()}

    def _warm_up(self) -> None:
        """Load what a default job needs, on the CPU where GPU memory is full; jobs try the GPU again."""
        try:
            loaded.warm_up(self._store, "auto", self._warm)
            return
        except RuntimeError as error:
            if not is_out_of_gpu_memory(error):
                raise
        self._warm.release()
        release_memory()
        loaded.warm_up(self._store, "cpu", self._warm)

    def run(self, job: Message, send: Send, cancel: CancelToken) -> Message:
        """Run a job; see ``compute.Run``."""
        handlers = {
            "find": self._find,
            "protect": self._protection.protect,
            "search": self._protection.search,
            "render": self._protection.render,
            "measure": self._protection.measure,
            "apply": self._protection.apply,
            "drop": self._protection.drop,
            "check": self._check,
            "models": self._models,
        }
        handler, header, pictures = handlers[job.header["kind"]], JobHeader(job.header), unpack(job)
        del job  # its payload is shared by the pictures
        return handler(header, pictures, send, cancel)

    # Faces

    def _find(self, header: JobHeader, pictures: list[Picture], send: Send, cancel: CancelToken) -> Message:
        picture = require_one("photo", pictures)
        selection = next((p for p in pictures if p.name == "selection"), None)
        if selection is not None:
            check_selection(selection, picture)
        height, width = picture.pixels.shape[:2]
        layer_size = header.read_size("full") or (width, height)
        scale = np.array([layer_size[0] / width, layer_size[1] / height])
        send(Message(describe_progress(Progress("detect"), 0.0, None)))
        photo = to_photo(picture)
        detected = find_faces(photo, self._store, float(scale.max())) if min(width, height) >= MIN_SIDE else ()
        faces = [scale_face(face, scale) for face in detected]
        fractions = [1.0 if selection is None else get_selected_fraction(face, selection.pixels) for face in detected]
        chosen = choose_faces(header.read_face_choice(), faces, fractions)
        preview_size = header.read_size("show")
        return pack(
            {
                "faces": [describe_face(face, fraction) for face, fraction in zip(faces, fractions, strict=True)],
                "chosen": [face.number for face in chosen],
                "regions": plan_areas(chosen, layer_size),
            },
            [] if preview_size is None else [Picture("shown", 0, 0, show_photo(to_photo(picture), preview_size))],
        )

    # Check

    def _check(self, header: JobHeader, pictures: list[Picture], send: Send, cancel: CancelToken) -> Message:
        originals = [p for p in pictures if p.name == "original"]
        currents = [p for p in pictures if p.name == "current"]
        if not originals or len(originals) != len(currents):
            raise BadRequest("check-without-pairs")
        device = header.read_choice("device", "auto", get_args(Device))
        upload = header.read_flag("upload")
        layer_size = header.read_size("full") or (originals[0].pixels.shape[1], originals[0].pixels.shape[0])
        pairs = [(to_photo(original), to_photo(current)) for original, current in zip(originals, currents, strict=True)]
        if all(compare.show_same_colours(original, current) for original, current in pairs):
            raise BadRequest("pictures-the-same")
        tasks = assign_faces(header.read_faces(), originals)
        part_count = len(tasks) * (2 if upload else 1)
        current_reports: list[FaceReport] = []
        upload_reports: list[FaceReport] = []
        warnings: list[errors.Message] = []
        for index, task in enumerate(tasks):
            original, current = pairs[task.index]
            versions = [(current_reports, current)]
            if upload:
                uploaded = simulate_photo_upload(current, min(1.0, UPLOAD_WIDTH / layer_size[0]))
                versions.append((upload_reports, uploaded))
            for part, (reports, picture) in enumerate(versions):
                cancel.raise_if_cancelled()
                fraction = (index * len(versions) + part) / part_count
                send(Message(describe_progress(Progress("verify", step=0), fraction, None)))
                compared = compare.check(
                    original,
                    picture,
                    store=self._store,
                    device=device,  # type: ignore[arg-type]
                    warm=self._warm,
                    warnings=warnings,
                )
                reports += move_to_layer(filter_reports(compared, task.choice), task, originals[task.index])
        current_reports, upload_reports = renumber(current_reports, tasks), renumber(upload_reports, tasks)
        response: Header = {
            "faces": describe_faces(current_reports),
            "warnings": describe_messages(dict.fromkeys(warnings)),
        }
        if upload:
            response["upload"] = {
                "faces": describe_faces(upload_reports),
                "width": UPLOAD_WIDTH,
                "quality": UPLOAD_QUALITY,
            }
        return Message(response)

    # Models

    def _models(self, header: JobHeader, pictures: list[Picture], send: Send, cancel: CancelToken) -> Message:
        # Shipped models can't be fetched, and must not keep others from being fetched.
        missing = [e.name for e in self._store.entries() if e.fetchable and not self._store.is_intact(e.name)]
        names = missing if header.requests_all("fetch") else list(header.read_names("fetch"))
        default_entries = self._store.entries()
        for name in names:
            entry = self._store.entry(name)
            if entry not in default_entries:
                # Unlike the command, the plug-in has not shown its licence and size.
                raise ModelUnavailable("model-not-fetched", name=name, source=entry.source)
        store = ModelStore(offline=bool(os.environ.get("C2P_OFFLINE")))
        for index, name in enumerate(names):
            cancel.raise_if_cancelled()

            def report_bytes(done: int, size: int, position: int = index) -> None:
                cancel.raise_if_cancelled()
                fraction = (position + done / max(size, 1)) / len(names)
                send(Message(describe_progress(Progress("fetch", step=done, steps=size), fraction, None)))

            report_bytes(0, 1)
            store.fetch(name, report_bytes)
        # The next job reports them.
        self._store.add_notices(store.take_notices())
        if names:
            self._warm.release()
        return Message(self._known_models())

    def _known_models(self) -> Header:
        entries = self._store.entries()
        present = {entry.name: self._store.is_intact(entry.name) for entry in entries}
        return {
            "present": [name for name, is_present in present.items() if is_present],
            "missing": [
                {
                    "name": entry.name,
                    "role": entry.role,
                    "licence": entry.licence,
                    "size": entry.size,
                    "can_be_fetched": entry.fetchable,
                }
                for entry in entries
                if not present[entry.name]
            ],
            "licences": {entry.name: entry.licence for entry in entries},
        }
