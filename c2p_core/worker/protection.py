"""The jobs that protect: in one go, or by a search that is kept, previewed, measured and applied by any amount."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from c2p_core import compare, errors, pipeline
from c2p_core.api import CancelToken, Computation, FaceReport, Progress, ProtectRequest, ProtectResult, Stronger
from c2p_core.direction import Direction, apply_direction, work_where_it_fits
from c2p_core.errors import BadRequest, NoFace
from c2p_core.faces.amounts import AS_FOUND, Amounts
from c2p_core.faces.paste import blend_selection
from c2p_core.io.decode import MIN_SIDE
from c2p_core.io.report import computation_report, stronger_report
from c2p_core.models.loaded import WarmModels, name_recognisers
from c2p_core.models.store import ModelStore
from c2p_core.search import SearchSettings
from c2p_core.sketch import Area, Sketch
from c2p_core.worker.areas import (
    Task,
    assign_faces,
    contains,
    drop_missing_faces,
    map_client_numbers,
    move_to_layer,
    renumber,
)
from c2p_core.worker.job_answer import (
    average_seconds,
    describe_faces,
    describe_messages,
    describe_progress,
    list_settings,
)
from c2p_core.worker.job_header import JobHeader
from c2p_core.worker.job_progress import JobProgress
from c2p_core.worker.job_request import AreaPictures, NothingVisible, build_request, group_areas, read_amounts
from c2p_core.worker.protocol import Message, Picture, Send, pack
from c2p_core.worker.results import is_same_picture, pack_result, to_photo, update_similarities

# Limits of kept searches: more than a person compares, and no more memory than a small computer can spare.
_MAX_SEARCHES = 12
MAX_BYTES = 300_000_000
_OUTPUTS = ("single", "products")

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _KeptArea:
    """A finished search of one area of the layer."""

    area: AreaPictures
    task: Task
    sketch: Sketch


@dataclass(frozen=True)
class _KeptSearch:
    """A finished search of a layer.

    Attributes:
        request: of all areas.
        areas: those with a result.
        failures: messages on the others.
        seconds: duration of the search.
    """

    request: ProtectRequest
    areas: tuple[_KeptArea, ...]
    failures: tuple[errors.Message, ...]
    seconds: float

    @property
    def warnings(self) -> tuple[errors.Message, ...]:
        """Those of the search, and of everything that used its result since."""
        warnings = (warning for area in self.areas for warning in area.sketch.direction.warnings)
        return (*dict.fromkeys(warnings), *self.failures)

    @property
    def tasks(self) -> list[Task]:
        return [area.task for area in self.areas]

    @property
    def computation(self) -> Computation | None:
        """That of the first area; the others can differ only in the memory that they took."""
        return self.areas[0].sketch.direction.computation


class KeptSearches:
    """The latest finished searches, by name; bounded in number and bytes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _KeptSearch] = OrderedDict()

    def add(self, search: _KeptSearch) -> str:
        """Keep a search, and drop the least recently used ones; returns its name."""
        name = secrets.token_hex(8)
        self._kept[name] = search
        while len(self._kept) > 1 and (len(self._kept) > _MAX_SEARCHES or self._count_bytes() > MAX_BYTES):
            self._kept.popitem(last=False)
        return name

    def get(self, name: str) -> _KeptSearch:
        """The search of this name.

        Raises:
            BadRequest: it is no longer kept.
        """
        if name not in self._kept:
            raise BadRequest("search-gone")
        self._kept.move_to_end(name)
        return self._kept[name]

    def share_pixels(self, area: AreaPictures) -> AreaPictures:
        """Reuse the pixels of an earlier search of this area, so that several looks keep a large photo only once."""
        for search in self._kept.values():
            for kept in search.areas:
                if is_same_picture(kept.area.photo, area.photo):
                    return replace(area, photo=kept.area.photo)
        return area

    def drop(self, names: Iterable[str]) -> None:
        """Drop searches that are no longer needed."""
        for name in names:
            self._kept.pop(name, None)

    def _count_bytes(self) -> int:
        sizes: dict[int, int] = {}
        for search in self._kept.values():
            for kept in search.areas:
                sizes |= kept.sketch.sizes()
        return sum(sizes.values())


class Protection:
    """Runs the jobs "protect", "search", "render", "measure", "apply" and "drop"."""

    def __init__(self, store: ModelStore, warm: WarmModels) -> None:
        self._store = store
        self._warm = warm
        self._searches = KeptSearches()

    def protect(self, header: JobHeader, pictures: list[Picture], send: Send, cancel: CancelToken) -> Message:
        output, amounts = header.read_choice("output", "single", _OUTPUTS), read_amounts(header)
        areas = group_areas(pictures)
        request = replace(build_request(header), layers=output == "products")
        tasks = assign_faces(header.read_faces(), [area.photo for area in areas])

        def protect_area(task: Task, progress: JobProgress) -> ProtectResult:
            area = areas[task.index]
            result = pipeline.protect(
                _build_area_request(area, task, request),
                amounts=amounts,
                progress=_make_progress_callback(progress, send),
                cancel=cancel,
                store=self._store,
                warm=self._warm,
            )
            return self._measure_with_selection(area, result, request, cancel)

        start = time.perf_counter()
        parts, failures = _process_areas(tasks, request, protect_area)
        summary, packed = _pack_results([(areas[task.index], task, result) for task, result in parts])
        warnings = [*summary.warnings, *_describe_failures(failures)]
        return _build_response(summary, warnings, packed, request, output, amounts, time.perf_counter() - start)

    def search(self, header: JobHeader, pictures: list[Picture], send: Send, cancel: CancelToken) -> Message:
        areas = [self._searches.share_pixels(area) for area in group_areas(pictures)]
        pictures.clear()  # frees the pixels that an earlier search shares
        request = build_request(header)
        tasks = assign_faces(header.read_faces(), [area.photo for area in areas])
        start = time.perf_counter()

        def search_area(task: Task, progress: JobProgress) -> Sketch:
            area = areas[task.index]
            direction = pipeline.find_direction(
                _build_area_request(area, task, request),
                progress=_make_progress_callback(progress, send),
                cancel=cancel,
                store=self._store,
                warm=self._warm,
            )
            return Sketch(direction, None if area.selection is None else area.selection.pixels)

        parts, failures = _process_areas(tasks, request, search_area)
        kept_areas = tuple(
            _KeptArea(areas[task.index], drop_missing_faces(task, sketch.direction.faces), sketch)
            for task, sketch in parts
        )
        search = _KeptSearch(request, kept_areas, tuple(_describe_failures(failures)), time.perf_counter() - start)
        send(Message(describe_progress(Progress("verify"), 0.96, None)))
        reports = self._measure(search, AS_FOUND, cancel)
        return Message(
            {
                "search": self._searches.add(search),
                "faces": describe_faces(reports),
                "warnings": describe_messages(search.warnings),
                "settings": list_settings(request, reports, "single", AS_FOUND, search.computation),
                "computation": computation_report(search.computation),
                "seconds": round(search.seconds, 2),
                "seconds_per_face": average_seconds(request, reports),
            }
        )

    def render(self, header: JobHeader, pictures: list[Picture], send: Send, cancel: CancelToken) -> Message:
        search, amounts = self._searches.get(header.read_text("search", "")), read_amounts(header)
        x, y, width, height = header.read_area("area")
        size = header.read_size("size") or (width, height)
        for kept in search.areas:
            photo = kept.area.photo
            left, top = max(x, photo.x), max(y, photo.y)
            right = min(x + width, photo.x + photo.bounds[2])
            bottom = min(y + height, photo.y + photo.bounds[3])
            if left < right and top < bottom and contains(photo, x + width / 2, y + height / 2):
                part = left - photo.x, top - photo.y, right - left, bottom - top
                return _render(kept.sketch, part, (left, top), size[0] / width, amounts)
        raise BadRequest("area-outside-regions")

    def measure(self, header: JobHeader, pictures: list[Picture], send: Send, cancel: CancelToken) -> Message:
        search = self._searches.get(header.read_text("search", ""))
        reports = self._measure(search, read_amounts(header), cancel)
        return Message({"faces": describe_faces(reports), "warnings": describe_messages(search.warnings)})

    def apply(self, header: JobHeader, pictures: list[Picture], send: Send, cancel: CancelToken) -> Message:
        search, amounts = self._searches.get(header.read_text("search", "")), read_amounts(header)
        output = header.read_choice("output", "single", _OUTPUTS)
        start = time.perf_counter()

        def apply_area(task: Task, progress: JobProgress) -> ProtectResult:
            kept = next(kept for kept in search.areas if kept.task is task)
            report_progress = _make_progress_callback(progress, send)

            def tell_stage(stage: str) -> None:
                cancel.raise_if_cancelled()
                report_progress(Progress(stage))

            def apply_on(direction: Direction) -> ProtectResult:
                kept.sketch.use(direction)
                return apply_direction(direction, amounts, layers=output == "products", on_stage=tell_stage)

            result = work_where_it_fits(kept.sketch.direction, self._warm, apply_on)
            return self._measure_with_selection(kept.area, result, search.request, cancel)

        parts, failures = _process_areas(search.tasks, search.request, apply_area)
        areas = {id(kept.task): kept.area for kept in search.areas}
        summary, packed = _pack_results([(areas[id(task)], task, result) for task, result in parts])
        warnings = list(dict.fromkeys([*search.warnings, *summary.warnings, *_describe_failures(failures)]))
        seconds = search.seconds + time.perf_counter() - start
        return _build_response(summary, warnings, packed, search.request, output, amounts, seconds)

    def drop(self, header: JobHeader, pictures: list[Picture], send: Send, cancel: CancelToken) -> Message:
        self._searches.drop(header.read_names("searches"))
        return Message({})

    def _measure(self, search: _KeptSearch, amounts: Amounts, cancel: CancelToken) -> list[FaceReport]:
        reports: list[FaceReport] = []
        for kept in search.areas:

            def measure_on(direction: Direction, sketch: Sketch = kept.sketch) -> tuple[FaceReport, ...]:
                sketch.use(direction)
                return sketch.measure(amounts, cancel)

            area_reports = work_where_it_fits(kept.sketch.direction, self._warm, measure_on)
            reports += move_to_layer(area_reports, kept.task, kept.area.photo)
        return renumber(reports, search.tasks)

    def _measure_with_selection(
        self, area: AreaPictures, result: ProtectResult, request: ProtectRequest, cancel: CancelToken
    ) -> ProtectResult:
        """Replace a result's similarities by those of the picture with the selection applied.

        Raises:
            NothingVisible: the selection hides the whole change.
        """
        if area.selection is None:
            return result
        photo = to_photo(area.photo)
        pixels = blend_selection(photo.pixels, result.photo.pixels, area.selection.pixels)
        if np.array_equal(pixels, photo.pixels):
            raise NothingVisible("selection-hides-change")
        if np.array_equal(pixels, result.photo.pixels):
            return result
        cancel.raise_if_cancelled()
        warnings = list(result.warnings)
        reports = compare.check(
            photo if area.original is None else to_photo(area.original),
            photo.with_pixels(pixels),
            store=self._store,
            device=request.device,
            warm=self._warm,
            warnings=warnings,
            recognisers=name_recognisers(request),
            full=result.computation is not None and result.computation.profile == "full",
        )
        faces = tuple(update_similarities(face, reports) for face in result.faces)
        return replace(result, faces=faces, warnings=tuple(dict.fromkeys(warnings)))


@dataclass(frozen=True)
class _Summary:
    """The measurements and messages of all areas."""

    reports: list[FaceReport]
    warnings: list[errors.Message]
    stronger: Stronger | None
    computation: Computation | None


def _build_area_request(area: AreaPictures, task: Task, request: ProtectRequest) -> ProtectRequest:
    photo = to_photo(area.photo)
    if min(photo.width, photo.height) < MIN_SIDE:
        raise NoFace("layer-too-small", width=photo.width, height=photo.height)
    original = None if area.original is None else to_photo(area.original)
    return replace(request, photo=photo, faces=task.choice, original=original)


def _process_areas(
    tasks: Sequence[Task], request: ProtectRequest, work: Callable[[Task, JobProgress], _Result]
) -> tuple[list[tuple[Task, _Result]], list[NoFace | NothingVisible]]:
    """Process every area; the results of those that succeed are kept when others fail.

    Raises:
        NoFace, NothingVisible: all of them failed.
    """
    results: list[tuple[Task, _Result]] = []
    failures: list[NoFace | NothingVisible] = []
    for index, task in enumerate(tasks):
        try:
            steps = request.steps or SearchSettings().steps
            results.append((task, work(task, JobProgress(index, len(tasks), steps))))
        except (NoFace, NothingVisible) as error:
            failures.append(error)
    if not results:
        raise failures[0]
    return results, failures


def _describe_failures(failures: Sequence[NoFace | NothingVisible]) -> list[errors.Message]:
    reasons = dict.fromkeys(failure.message for failure in failures)
    return [errors.Message("not-every-face", why=why) for why in reasons]


def _make_progress_callback(job_progress: JobProgress, send: Send) -> Callable[[Progress], None]:
    return lambda progress: send(Message(describe_progress(progress, *job_progress.estimate(progress))))


def _pack_results(
    parts: Sequence[tuple[AreaPictures, Task, ProtectResult]],
) -> tuple[_Summary, list[Picture]]:
    reports: list[FaceReport] = []
    warnings: list[errors.Message] = []
    packed: list[Picture] = []
    stronger: Stronger | None = None
    computation: Computation | None = None
    tasks = []
    for area, task, result in parts:
        task = drop_missing_faces(task, result.faces)
        tasks.append(task)
        reports += move_to_layer(result.faces, task, area.photo)
        warnings += [w for w in result.warnings if w not in warnings]
        # It depends on the request only, which is the same for all areas except those that are strengthened.
        stronger, computation = stronger or result.stronger, computation or result.computation
        packed += pack_result(area.photo, result, area.selection, map_client_numbers(result.faces, task))
    return _Summary(renumber(reports, tasks), warnings, stronger, computation), packed


def _build_response(
    summary: _Summary,
    warnings: Sequence[errors.Message],
    packed: list[Picture],
    request: ProtectRequest,
    output: str,
    amounts: Amounts,
    seconds: float,
) -> Message:
    reports = summary.reports
    return pack(
        {
            "faces": describe_faces(reports),
            "warnings": describe_messages(warnings),
            "stronger": stronger_report(summary.stronger, reports),
            "settings": list_settings(request, reports, output, amounts, summary.computation),
            "computation": computation_report(summary.computation),
            "seconds": round(seconds, 2),
            "seconds_per_face": average_seconds(request, reports),
        },
        packed,
    )


def _render(sketch: Sketch, part: Area, corner: tuple[int, int], scale: float, amounts: Amounts) -> Message:
    size = max(1, round(part[2] * min(1.0, scale))), max(1, round(part[3] * min(1.0, scale)))
    before, after = sketch.render(part, size, amounts)
    header: dict[str, Any] = {"area": [*corner, *part[2:]]}
    return pack(header, [Picture("before", 0, 0, before), Picture("after", 0, 0, after)])
