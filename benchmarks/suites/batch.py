"""A whole shoot with ``c2p batch``: its time compared with single searches, its memory over time, and planning."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil

from benchmarks.circumstances import describe_circumstances, resolve_steps
from benchmarks.data import CHECKOUT
from benchmarks.suites.cost import make_group_photo

MEGAPIXELS = 6.0
_FILE = "batch.json"
_SAMPLE_INTERVAL = 0.5  # seconds between two samples of the memory
_MAX_SINGLES = 12  # faces that are searched one by one


@dataclass(frozen=True)
class Shoot:
    """Time and memory of a shoot.

    Attributes:
        photos, faces: protected; ``steps`` of the search per face.
        wall_seconds: from the start of the command to its end; ``seconds`` of the batch itself.
        search_seconds: sum over the faces of what their searches took in the same run.
        ratio: of ``seconds`` to these. Work in parallel also slows a search down, which this ratio does not show.
        single_seconds: mean time of a search when nothing else runs, over ``singles`` faces of the shoot.
        ratio_to_singles: of ``seconds`` to that time for every face of the shoot.
        peak_mib: most memory of the command and the process that it searches in together.
        first_mib, last_mib: mean memory over the second and the last quarter of the run, after the models are loaded.
    """

    photos: int
    faces: int
    steps: int
    wall_seconds: float
    seconds: float
    search_seconds: float
    ratio: float
    single_seconds: float
    singles: int
    ratio_to_singles: float
    peak_mib: float
    first_mib: float
    last_mib: float


@dataclass(frozen=True)
class Planning:
    """Time and memory of planning a folder, without face detection."""

    photos: int
    seconds: float
    peak_mib: float


def run(
    faces: Sequence[Path],
    rows: Path,
    photos: int,
    max_faces: int,
    steps: int | None,
    planned_files: int,
    log: Callable[[str], None],
) -> Path:
    """Measure, and write the figures.

    Args:
        faces: portraits that group photos are made of.
        rows: folder of the figures.
        photos: number of photos of the shoot, of 6 megapixels; see `count_faces` for their faces.
        max_faces: of a photo.
        steps: of the search per face, None for the default.
        planned_files: number of files in the planned folder.
        log: prints a line.
    """
    steps = resolve_steps(steps)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        circumstances = describe_circumstances()
        planning = measure_planning(folder / "many", folder / "none", planned_files)
        log(str(planning))
        make_shoot(faces, folder / "shoot", photos, max_faces)
        single_faces = choose_singles(sorted((folder / "shoot").iterdir()), max_faces)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as process:
            singles = process.submit(measure_singles, single_faces, steps).result()
        log(f"{len(singles)} faces one by one: {fmean(singles):.1f} s each")
        shoot = measure_shoot(folder / "shoot", folder / "out", steps, singles)
        log(str(shoot))
    rows.mkdir(parents=True, exist_ok=True)
    path = rows / _FILE
    figures = {**circumstances, "planning": asdict(planning), "shoot": asdict(shoot)}
    path.write_text(json.dumps(figures, indent=2) + "\n")
    return path


def make_shoot(faces: Sequence[Path], folder: Path, photos: int, max_faces: int) -> None:
    """Group photos of 6 megapixels, with the faces that `count_faces` says."""
    folder.mkdir(parents=True)
    portraits = cycle(faces)
    for number in range(photos):
        chosen = list(islice(portraits, count_faces(number, max_faces)))
        make_group_photo(chosen, MEGAPIXELS, folder / f"IMG_{number:04}.jpg")


def count_faces(number: int, max_faces: int) -> int:
    """The faces of the photo of this number: 1 to ``max_faces``, and more often few than many, as at a wedding."""
    return max_faces // (1 + number % max_faces)


def choose_singles(shoot: Sequence[Path], max_faces: int, count: int = _MAX_SINGLES) -> list[tuple[Path, int]]:
    """Choose at most ``count`` faces of ``make_shoot``, evenly spaced: each a photo and an index in it."""
    faces = [
        (photo, face_index)
        for number, photo in enumerate(shoot)
        for face_index in range(count_faces(number, max_faces))
    ]
    number = min(count, len(faces))
    return [faces[(2 * index + 1) * len(faces) // (2 * number)] for index in range(number)]


def measure_singles(faces: Sequence[tuple[Path, int]], steps: int) -> list[float]:
    """Seconds of the search of each of these faces when nothing else runs; models are loaded before."""
    from benchmarks.recognisers import open_store
    from c2p_core.api import ProtectRequest
    from c2p_core.faces import find_faces
    from c2p_core.io import photo_files
    from c2p_core.models.loaded import WarmModels
    from c2p_core.pipeline import find_direction

    store, warm = open_store(), WarmModels()
    seconds = []
    for photo, face_index in [faces[0], *faces]:  # the first one loads the models
        pixels = photo_files.read(photo)
        usable = [face.number for face in find_faces(pixels, store) if not face.skipped]
        number = usable[face_index % len(usable)]
        request = ProtectRequest(pixels, steps=steps, faces=(number,))
        (search,) = find_direction(request, store=store, warm=warm).changes
        seconds.append(search.seconds)
    return seconds[1:]


def measure_shoot(shoot: Path, out: Path, steps: int, singles: Sequence[float]) -> Shoot:
    """Run the command on a shoot; ``singles`` are the seconds of single searches of it."""
    arguments = ["batch", str(shoot), "-o", str(out), "--json", "--steps", str(steps)]
    output, seconds, memory = run_command(arguments)
    summary = json.loads(output)
    quarter = max(1, len(memory) // 4)
    return Shoot(
        summary["protected"],
        summary["faces"],
        steps,
        round(seconds, 1),
        summary["seconds"],
        summary["search_seconds"],
        round(summary["seconds"] / summary["search_seconds"], 3),
        round(fmean(singles), 1),
        len(singles),
        round(summary["seconds"] / (fmean(singles) * summary["faces"]), 3),
        round(max(memory)),
        round(fmean(memory[quarter : 2 * quarter] or memory)),
        round(fmean(memory[-quarter:])),
    )


def measure_planning(folder: Path, out: Path, count: int) -> Planning:
    """Plan a folder of empty files."""
    for number in range(count):
        if number % 1000 == 0:
            (folder / f"{number // 1000:03}").mkdir(parents=True)
        (folder / f"{number // 1000:03}" / f"IMG_{number:06}.jpg").touch()
    output, seconds, memory = run_command(["batch", str(folder), "-o", str(out), "--dry-run", "--no-detect", "--json"])
    return Planning(json.loads(output)["photos"], round(seconds, 1), round(max(memory)))


def run_command(arguments: list[str]) -> tuple[str, float, list[float]]:
    """Run the command; returns its output, its wall time in seconds, and samples of its memory in MiB."""
    start = time.monotonic()
    python_path = os.pathsep.join((str(CHECKOUT), str(CHECKOUT / "plugin")))
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": python_path}
    with tempfile.TemporaryFile("w+") as stdout:
        process = subprocess.Popen([sys.executable, "-m", "c2p_core", *arguments], stdout=stdout, env=environment)
        monitor, memory = psutil.Process(process.pid), [0.0]
        while process.poll() is None:
            try:
                memory.append(measure_memory(monitor))
            except psutil.NoSuchProcess:
                break
            time.sleep(_SAMPLE_INTERVAL if time.monotonic() - start > 10 else 0.05)
        if process.wait() != 0:
            raise subprocess.CalledProcessError(process.returncode, arguments)
        stdout.seek(0)
        return stdout.read(), time.monotonic() - start, memory


def measure_memory(process: psutil.Process) -> float:
    """The memory of a process and of those that it has started, in MiB."""
    memory = float(process.memory_info().rss)
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            memory += child.memory_info().rss
    return memory / 2**20
