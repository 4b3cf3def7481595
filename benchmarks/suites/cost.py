"""Time and memory over the number of faces in a photo and over megapixels, each figure from a fresh process."""

from __future__ import annotations

import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PIL import Image, ImageFilter

from benchmarks import rows
from benchmarks.data import sample_evenly
from benchmarks.fingerprint import fingerprint_code
from benchmarks.metrics.memory import peak_mib
from benchmarks.rows import COST_FILE, CostRow
from c2p_core.api import PRIORS, Progress, ProtectRequest

FACES = (1, 2, 5, 10, 20)
FACES_MEGAPIXELS = 6.0
MEGAPIXELS = (1.0, 6.0, 24.0, 50.0)
# Scaling can be measured with few steps; the whole search is measured on one face.
STEPS = 20
_WHOLE_SEARCH = (1, 1.0, None)
_WHOLE_SEARCH_LARGE = (1, 24.0, None)


class _Clock:
    """Adds up the time between progress reports under the stage that was reported last."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._stage = "start"
        self._since = time.perf_counter()

    def __call__(self, progress: Progress) -> None:
        self.switch_stage(progress.stage)

    def switch_stage(self, stage: str) -> None:
        now = time.perf_counter()
        self.stages[self._stage] = self.stages.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now


def make_group_photo(photos: Sequence[Path], megapixels: float, target: Path) -> None:
    """Write portraits side by side into one JPEG of 3 : 2, on a blurred background."""
    height = round(math.sqrt(megapixels * 1e6 / 1.5))
    width = round(1.5 * height)
    columns = math.ceil(math.sqrt(1.5 * len(photos)))
    cell = (width // columns, height // math.ceil(len(photos) / columns))
    pictures = [Image.open(photo).convert("RGB") for photo in photos]
    small = pictures[0].resize((max(1, width // 20), max(1, height // 20)))
    sheet = small.filter(ImageFilter.GaussianBlur(12)).resize((width, height))
    for index, picture in enumerate(pictures):
        scale = min(cell[0] / picture.width, cell[1] / picture.height)
        portrait = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
        )
        x, y = (index % columns) * cell[0], (index // columns) * cell[1]
        sheet.paste(portrait, (x + (cell[0] - portrait.width) // 2, y + (cell[1] - portrait.height) // 2))
    sheet.save(target, "JPEG", quality=92)


def measure(
    warm_up: Path, photo: Path, portraits: int, strength: float, steps: int | None, prior: str, target: Path, code: str
) -> CostRow:
    """Protect all faces of ``photo`` in this process after a first call on ``warm_up``, and write it to ``target``.

    After a whole search the result is also checked as ``c2p check --robustness`` does.
    """
    from c2p_core.compare import check
    from c2p_core.io import photo_files
    from c2p_core.models.loaded import WarmModels
    from c2p_core.models.store import ModelStore
    from c2p_core.pipeline import protect
    from c2p_core.priors.inversion_cache import MemoryInversions

    store, warm = ModelStore(), WarmModels(MemoryInversions())

    def make_request(path: Path, limit: int | None) -> ProtectRequest:
        return ProtectRequest(photo_files.read(path), strength=strength, steps=limit, prior=prior)

    started = time.perf_counter()
    protect(make_request(warm_up, 1), store=store, warm=warm)
    first_call, loaded_mib = time.perf_counter() - started, peak_mib()
    started = time.perf_counter()
    request = make_request(photo, steps)
    files = time.perf_counter() - started
    clock = _Clock()
    result = protect(request, store=store, progress=clock, warm=warm)
    clock.switch_stage("end")
    started = time.perf_counter()
    photo_files.write(target, result.photo)
    files += time.perf_counter() - started
    final_mib, check_seconds = peak_mib(), None
    if steps is None:
        started = time.perf_counter()
        check(request.photo, photo_files.read(target), store=store, warm=warm, robustness=True)
        check_seconds = time.perf_counter() - started
    reports = [report for report in result.faces if report.similarities]
    return CostRow(
        portraits=portraits,
        faces=len(reports),
        megapixels=request.photo.width * request.photo.height / 1e6,
        limit=steps,
        strength=strength,
        seconds=sum(s for stage, s in clock.stages.items() if stage != "load"),
        stages=clock.stages,
        steps=sum(report.steps for report in reports),
        files=files,
        cold=first_call,
        loaded_mib=loaded_mib,
        peak_mib=final_mib,
        code=code,
        prior=prior,
        check=check_seconds,
    )


def run(photos: Sequence[Path], strength: float, prior: str, results: Path, log: Callable[[str], None]) -> Path:
    """Measure the cases without a row of this code, one process after another; return the file of rows.

    Nothing else should be running meanwhile. Scaling is the same for all priors, so it is measured with the first.
    """
    path, code = results / COST_FILE, fingerprint_code()
    rows.drop_incomplete_line(path)
    measured = {
        (row.portraits, round(row.megapixels), row.limit)
        for row in rows.read(path, rows.CostRow)
        if (row.code, row.strength, row.prior) == (code, strength, prior)
    }
    cases: list[tuple[int, float, int | None]] = [_WHOLE_SEARCH, _WHOLE_SEARCH_LARGE]
    if prior == PRIORS[0]:
        cases += [(1, size, STEPS) for size in MEGAPIXELS]
        cases += [(count, FACES_MEGAPIXELS, STEPS) for count in FACES if count > 1]
    with tempfile.TemporaryDirectory() as folder:
        for count, size, steps in cases:
            if (count, round(size), steps) in measured:
                continue
            if count > len(photos):
                log(f"{count} faces a photo are left out: there are {len(photos)} photos.")
                continue
            photo, target = Path(folder) / "group.jpg", Path(folder) / "protected.jpg"
            make_group_photo(sample_evenly(photos, count), size, photo)
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as process:
                row = process.submit(measure, photos[0], photo, count, strength, steps, prior, target, code).result()
            if row.faces != count:
                log(f"In {count} portraits at {size:g} megapixels {row.faces} faces were found and protected.")
            rows.append(path, row)
            stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in row.stages.items())
            log(
                f"{row.faces} faces, {row.megapixels:.0f} MP: {row.seconds:.1f} s, {row.steps} steps, files"
                f" {row.files:.1f} s, peak {row.peak_mib:.0f} MiB; {stages}"
            )
    return path
