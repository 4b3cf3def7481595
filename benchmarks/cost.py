"""Seconds and memory, each figure from a fresh process: one face in a small photo, and the same in 24 megapixels."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image, ImageFilter

from benchmarks.process import code_fingerprint, peak_mib
from c2p_core.api import Progress, ProtectRequest

COST_FILE = "cost.json"
LARGE = (6000, 4000)


@dataclass(frozen=True)
class Cost:
    """What one call in a fresh process took.

    Attributes:
        face: photo name.
        megapixels: of the photo.
        seconds: of ``protect``, with the models already in memory where the product keeps them there, less what it
            spent in the stage "load".
        stages: seconds by stage of the same call.
        steps: search steps done.
        files: seconds for reading the JPEG and writing the result as one.
        cold: seconds of the process's first call (one step), models loaded.
        loaded_mib: high-water mark after that first call on the small photo.
        peak_mib: high-water mark at the end.
    """

    face: str
    megapixels: float
    seconds: float
    stages: dict[str, float]
    steps: int
    files: float
    cold: float
    loaded_mib: float
    peak_mib: float


class _Clock:
    """Adds up the time between progress reports under the stage that was reported last."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._stage = "start"
        self._since = time.perf_counter()

    def __call__(self, progress: Progress) -> None:
        self.turn(progress.stage)

    def turn(self, stage: str) -> None:
        now = time.perf_counter()
        self.stages[self._stage] = self.stages.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now


def enlarge(photo: Path, target: Path) -> None:
    """The same portrait as a 24-megapixel JPEG: enlarged to the full height, beside it its own blurred surroundings."""
    small = Image.open(photo).convert("RGB")
    backdrop = small.resize((LARGE[0] // 20, LARGE[1] // 20)).filter(ImageFilter.GaussianBlur(12)).resize(LARGE)
    scale = min(LARGE[0] / small.width, LARGE[1] / small.height)
    portrait = small.resize((round(small.width * scale), round(small.height * scale)), Image.Resampling.LANCZOS)
    backdrop.paste(portrait, ((LARGE[0] - portrait.width) // 2, (LARGE[1] - portrait.height) // 2))
    backdrop.save(target, "JPEG", quality=92)


def measure(small: Path, photo: Path, strength: float, steps: int | None, target: Path) -> Cost:
    """Protect ``photo`` in this process after a first call on ``small``, and write it to ``target``."""
    from c2p_core import imageio
    from c2p_core.models.store import ModelStore
    from c2p_core.pipeline import protect

    store = ModelStore()
    started = time.perf_counter()
    protect(ProtectRequest(imageio.read(small), strength=strength, faces="largest", steps=1), store=store)
    cold, loaded = time.perf_counter() - started, peak_mib()
    started = time.perf_counter()
    original = imageio.read(photo)
    files = time.perf_counter() - started
    clock = _Clock()
    result = protect(
        ProtectRequest(original, strength=strength, faces="largest", steps=steps), store=store, progress=clock
    )
    clock.turn("end")
    started = time.perf_counter()
    imageio.write(target, result.photo)
    files += time.perf_counter() - started
    return Cost(
        face=small.stem,
        megapixels=original.width * original.height / 1e6,
        seconds=sum(s for stage, s in clock.stages.items() if stage != "load"),
        stages=clock.stages,
        steps=max(report.steps for report in result.faces),
        files=files,
        cold=cold,
        loaded_mib=loaded,
        peak_mib=peak_mib(),
    )


def run(photos: Sequence[Path], strength: float, steps: int | None, results: Path, say: Callable[[str], None]) -> Path:
    """Measure every photo as it is and at 24 megapixels, one process after another; write and return cost.json."""
    costs: list[Cost] = []
    with tempfile.TemporaryDirectory() as folder:
        for photo in photos:
            large = Path(folder) / f"{photo.stem}-24.jpg"
            enlarge(photo, large)
            for subject in (photo, large):
                context = multiprocessing.get_context("spawn")
                with ProcessPoolExecutor(1, mp_context=context) as process:
                    target = Path(folder) / "protected.jpg"
                    costs.append(process.submit(measure, photo, subject, strength, steps, target).result())
                last = costs[-1]
                say(
                    f"{last.face} {last.megapixels:.1f} MP: {last.seconds:.1f} s, {last.steps} steps, files"
                    f" {last.files:.1f} s, peak {last.peak_mib:.0f} MiB; "
                    + ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in last.stages.items())
                )
            large.unlink()
    path = results / COST_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {"code": code_fingerprint(), "strength": strength, "costs": [asdict(cost) for cost in costs]}
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return path
