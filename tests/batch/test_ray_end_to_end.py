"""`c2p batch` with real searches from S3 into S3 on a Ray cluster of two workers, one of which is killed half-way."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image
from skimage import data

from tests.batch.ray_cluster import start_ray
from tests.batch.stores import put, read_objects, read_results_of_store, serve_s3

ROOT = Path(__file__).resolve().parents[2]


def encode(picture: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def find_workers(address: str) -> list[psutil.Process]:
    """The processes of actors of a cluster."""
    processes = []
    for process in psutil.process_iter():
        try:
            command_line = process.cmdline()
            mine = command_line and command_line[0].startswith("ray::Protector")
            if mine and any(address in " ".join(parent.cmdline()) for parent in process.parents()):
                processes.append(process)
        except psutil.NoSuchProcess:
            continue
    return processes


@pytest.mark.slow
def test_every_photo_is_protected_once_although_a_worker_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C2P_HOME", str(tmp_path / "home"))
    portrait = Image.fromarray(data.astronaut()[:320, :320])
    with serve_s3() as bucket, start_ray(cores=2) as address:
        for number in range(4):
            put(bucket, f"shoot/{number}.png", encode(portrait.crop((0, 0, 300 + 5 * number, 300)), "PNG"))
        arguments = ["batch", f"{bucket}/shoot", "-o", f"{bucket}/out", "--steps", "2", "--json", "--no-report"]
        arguments += ["--recognisers", "faceres", "--engine", "ray", "--address", address, "--cores", "1"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugin"), *sys.path])}
        with (tmp_path / "stdout").open("w+") as stdout, (tmp_path / "stderr").open("w+") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "c2p_core", *arguments], stdout=stdout, stderr=stderr, env=environment
            )
            while not read_results_of_store(f"{bucket}/out"):
                assert process.poll() is None, (tmp_path / "stderr").read_text()
                time.sleep(0.1)
            alive = find_workers(address)
            assert len(alive) == 2
            os.kill(alive[0].pid, signal.SIGKILL)
            assert process.wait(120) == 0, (tmp_path / "stderr").read_text()
            summary = json.loads((tmp_path / "stdout").read_text())
        assert (summary["protected"], summary["faces"], summary["failed"], summary["remaining"]) == (4, 4, [], 0)
        assert sorted(read_results_of_store(f"{bucket}/out")) == [f"{number}.png" for number in range(4)]
        rows = [
            json.loads(line)
            for name, lines in read_objects(f"{bucket}/out").items()
            if name.startswith(".c2p/rows/")
            for line in lines.splitlines()
        ]
        assert sorted((row["place"], row["state"]) for row in rows) == [
            (f"{number}.png", "done") for number in range(4)
        ]
