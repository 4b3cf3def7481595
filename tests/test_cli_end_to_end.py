"""`c2p` on a real photo with the real models, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from c2p_core.io import photo_files
from tests.checkout import environment


def c2p(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "c2p_core", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(OMP_NUM_THREADS="1"))


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """A portrait, its protected copy after a short search, and the report."""
    folder = tmp_path_factory.mktemp("portrait")
    original, result, report = folder / "me.png", folder / "out.png", folder / "me.report.json"
    exif = Image.Exif()
    exif[274] = 6
    turned = np.rot90(data.astronaut())  # on its side, as a phone stores it
    Image.fromarray(turned).save(original, exif=exif)
    run = c2p("protect", original, "-o", result, "--report", report, "--steps", "4", "--prompt", "red lipstick, qwzx")
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return original, result, json.loads(report.read_text())


@pytest.mark.slow
def test_only_the_face_changes_and_the_photo_is_upright(protected: tuple[Path, Path, dict[str, Any]]) -> None:
    original, result, _ = protected
    before, after = photo_files.read(original).pixels, photo_files.read(result).pixels
    assert np.array_equal(before, data.astronaut())
    changed = (before != after).any(axis=2)
    assert 0 < changed.mean() < 0.15
    changed[:256, 128:320] = False
    assert not changed.any()


@pytest.mark.slow
def test_the_report_contains_the_measurements(protected: tuple[Path, Path, dict[str, Any]]) -> None:
    photo = protected[2]["photos"][0]
    (face,) = photo["faces"]
    assert face["steps"] >= 1 and face["seconds"] > 0
    assert {entry["held_out"] for entry in face["similarities"]} == {True, False}
    assert all(-1 <= entry["after"] < entry["before"] <= 1.001 for entry in face["similarities"])
    assert any(warning["fields"].get("word") == "qwzx" for warning in photo["warnings"])
    assert photo["settings"]["steps"] == 4


@pytest.mark.slow
def test_check_says_the_same_of_the_written_file(protected: tuple[Path, Path, dict[str, Any]]) -> None:
    original, result, report = protected
    run = c2p("check", original, result, "--json")
    assert run.returncode == 0, run.stderr
    (face,) = json.loads(run.stdout)["photos"][0]["faces"]
    after = {entry["recogniser"]: entry["after"] for entry in face["similarities"]}
    for entry in report["photos"][0]["faces"][0]["similarities"]:
        # The face is looked for from scratch here, so that the landmarks and with them the crops differ a little.
        assert after[entry["recogniser"]] == pytest.approx(entry["after"], abs=0.2)
