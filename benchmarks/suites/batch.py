"""A whole shoot with ``c2p batch``: its time beside that of single searches, its memory over the run, and planning."""

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
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil

from benchmarks.circumstances import describe_circumstances, resolve_steps
from benchmarks.data import CHECKOUT
from benchmarks.suites.cost import group_photo

MEGAPIXELS = 6.0
_FILE = "batch.json"
_SAMPLED = 0.5  # seconds between two looks at the memory
_MOST_SINGLE = 12  # faces that are searched one by one


@dataclass(frozen=True)
class Shoot:
    """What a shoot took.

    Attributes:
        photos, faces: protected; ``steps`` of the search a face.
        wall_seconds: from the start of the command to its end; ``seconds`` of the batch itself.
        search_seconds: sum over the faces of what their searches took in the same run.
        ratio: of ``seconds`` to these. What is done beside a search slows it down too, which this ratio does not show.
        single_seconds: mean time of a search when nothing else is done, of ``singles`` faces of the shoot.
        ratio_to_singles: of ``seconds`` to that time for every face of the shoot.
        peak_mib: most memory of the process.
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
    """What planning a folder took, without looking for faces."""

    photos: int
    seconds: float
    peak_mib: float


def run(
    faces: Sequence[Path],
    rows: Path,
    photos: int,
    most: int,
    steps: int | None,
    planned: int,
    say: Callable[[str], None],
) -> Path:
    """Measure, and write the figures.

    Args:
        faces: portraits that group photos are made of.
        rows: folder of the figures.
        photos: of the shoot; of 6 megapixels, with 1 to ``most`` faces each in turn.
        most: see ``photos``.
        steps: of the search a face, None for the default.
        planned: files of the folder that is planned.
        say: told each figure.
    """
    steps = resolve_steps(steps)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        circumstances = describe_circumstances()
        planning = measure_planning(folder / "many", folder / "none", planned)
        say(str(planning))
        make_shoot(faces, folder / "shoot", photos, most)
        chosen = choose_singles(sorted((folder / "shoot").iterdir()), most)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as process:
            singles = process.submit(measure_singles, chosen, steps).result()
        say(f"{len(singles)} faces one by one: {fmean(singles):.1f} s each")
        shoot = measure_shoot(folder / "shoot", folder / "out", steps, singles)
        say(str(shoot))
    rows.mkdir(parents=True, exist_ok=True)
    path = rows / _FILE
    found = {**circumstances, "planning": asdict(planning), "shoot": asdict(shoot)}
    path.write_text(json.dumps(found, indent=2) + "\n")
    return path


def make_shoot(faces: Sequence[Path], folder: Path, photos: int, most: int) -> None:
    """Group photos of 6 megapixels, with 1 to ``most`` faces in turn."""
    folder.mkdir(parents=True)
    portraits = cycle(faces)
    for number in range(photos):
        chosen = list(islice(portraits, 1 + number % most))
        group_photo(chosen, MEGAPIXELS, folder / f"IMG_{number:04}.jpg")


def choose_singles(shoot: Sequence[Path], most: int, count: int = _MOST_SINGLE) -> list[tuple[Path, int]]:
    """Choose at most ``count`` faces evenly among those of ``make_shoot``: each a photo and a place in it."""
    faces = [(photo, place) for number, photo in enumerate(shoot) for place in range(1 + number % most)]
    chosen = min(count, len(faces))
    return [faces[(2 * index + 1) * len(faces) // (2 * chosen)] for index in range(chosen)]


def measure_singles(chosen: Sequence[tuple[Path, int]], steps: int) -> list[float]:
    """Seconds that the search of each of these faces takes when it is all that is done; models are loaded before."""
    from benchmarks.recognisers import open_store
    from c2p_core.api import ProtectRequest
    from c2p_core.faces import find_faces
    from c2p_core.io import photo_files
    from c2p_core.models.loaded import WarmModels
    from c2p_core.pipeline import find_direction

    store, warm = open_store(), WarmModels()
    seconds = []
    for photo, place in [chosen[0], *chosen]:  # the first one loads the models
        pixels = photo_files.read(photo)
        usable = [face.number for face in find_faces(pixels, store) if not face.skipped]
        number = usable[place % len(usable)]
        request = ProtectRequest(pixels, steps=steps, faces=(number,))
        (found,) = find_direction(request, store=store, warm=warm).changes
        seconds.append(found.seconds)
    return seconds[1:]


def measure_shoot(shoot: Path, out: Path, steps: int, singles: Sequence[float]) -> Shoot:
    """Run the command on a shoot; ``singles`` are the seconds of single searches of it."""
    words = ["batch", str(shoot), "-o", str(out), "--json", "--steps", str(steps)]
    told, seconds, memory = run_command(words)
    summary = json.loads(told)
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
    told, seconds, memory = run_command(["batch", str(folder), "-o", str(out), "--dry-run", "--no-detect", "--json"])
    return Planning(json.loads(told)["photos"], round(seconds, 1), round(max(memory)))


def run_command(words: list[str]) -> tuple[str, float, list[float]]:
    """What the command printed, the seconds that it took, and its memory in MiB at regular times."""
    began = time.monotonic()
    search = os.pathsep.join((str(CHECKOUT), str(CHECKOUT / "plugin")))
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": search}
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen([sys.executable, "-m", "c2p_core", *words], stdout=told, env=environment)
        watched, memory = psutil.Process(process.pid), [0.0]
        while process.poll() is None:
            try:
                memory.append(watched.memory_info().rss / 2**20)
            except psutil.NoSuchProcess:
                break
            time.sleep(_SAMPLED if time.monotonic() - began > 10 else 0.05)
        if process.wait() != 0:
            raise subprocess.CalledProcessError(process.returncode, words)
        told.seek(0)
        return told.read(), time.monotonic() - began, memory
