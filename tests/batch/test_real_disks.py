"""A batch on disks that are really full or read-only: nothing is half written, and with room the next run finishes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from c2p_core.commands.exits import SOME_FAILED
from c2p_core.errors import CannotWrite
from tests.batch.darken import SIDECAR, read_results, save
from tests.batch.results import list_parts, read_done
from tests.checkout import environment
from tests.template_process import AVAILABLE, Template, start_template

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not AVAILABLE, reason="forks processes and mounts disks, on Linux"),
]

_NAMES = ["a.png", "b.png", "day 2/c.png", "day 2/d.png"]
_PHOTO_BYTES = 100_000
_ROOM = 20 * _PHOTO_BYTES
# What the command imports, some of it late.
_MODULES = ("c2p_core.cli", "c2p_core.batch.run", "c2p_core.profiles", "c2p_core.validate", "tests.batch.darken")
# A namespace of mounts; without root, one of users too.
_IS_ROOT = AVAILABLE and os.geteuid() == 0
_UNSHARE = ["unshare", *([] if _IS_ROOT else ["--user", "--map-root-user"]), "--mount", "--propagation", "private"]
_ENTER = ["nsenter", *([] if _IS_ROOT else ["--user", "--preserve-credentials"]), "--mount"]


@pytest.fixture(scope="module")
def template() -> Iterator[Template]:
    """Forks programs that see mounts of their own."""
    check = subprocess.run([*_UNSHARE, "mount", "-t", "tmpfs", "none", "/tmp"], capture_output=True, text=True)
    if check.returncode:
        pytest.skip(f"no disk can be mounted here: {check.stderr.strip()}")
    with start_template(*_MODULES, prefix=_UNSHARE, OMP_NUM_THREADS="1") as started:
        assert started.run("json.tool", "-h")[0] == 0  # now it has its mounts
        yield started


class Disk:
    """A file system in memory at the folder ``path``, which only the forks of the template see."""

    def __init__(self, path: Path, size: int, template: Template) -> None:
        path.mkdir()
        self.path = path
        self._template = template
        self._run("mount", "-t", "tmpfs", "-o", f"size={size}", "none", path)

    def remount(self, option: str) -> None:
        self._run("mount", "-o", f"remount,{option}", self.path)

    def bind(self, folder: Path, option: str = "rw") -> None:
        """Mount a folder of the disk onto itself."""
        self._run("mkdir", "-p", folder)
        self._run("mount", "--bind", folder, folder)
        self._run("mount", "-o", f"remount,bind,{option}", folder)

    def unmount(self, path: Path) -> None:
        self._run("umount", path)

    def copy(self) -> Path:
        """Copy what is on the disk to where this process can read it."""
        copy = self.path.with_name(f"copy {sum(1 for _ in self.path.parent.iterdir())}")
        self._run("cp", "--archive", self.path, copy)
        return copy

    def _run(self, *command: object) -> None:
        subprocess.run([*_ENTER, f"--target={self._template.pid}", *map(str, command)], check=True)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def shoot(tmp_path: Path) -> Path:
    """Photos that nothing compresses."""
    chance = np.random.default_rng(0)
    side = round((_PHOTO_BYTES / 3) ** 0.5)
    for name in _NAMES:
        path = tmp_path / "shoot" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 255, (side, side, 3), np.uint8)).save(path)
    return tmp_path / "shoot"


def run(template: Template, shoot: Path, out: Path, **variables: str) -> tuple[int, dict[str, Any]]:
    """Run the command; returns its exit code and its summary, which is empty if it began nothing."""
    arguments = ("batch", shoot, "-o", out, "--json")
    code, output, errors = template.run("tests.batch.darken_command", *arguments, env=environment(**variables))
    assert "Traceback" not in errors
    return code, json.loads(output or "{}")


def read_whole(out: Path) -> dict[str, int]:
    """The times of all finished results, after a check that nothing is half written or left over."""
    assert list_parts(out) == set()
    done = read_done(out)
    assert set(done) == set(read_results(out))
    return {name: row.result_mtime_ns or 0 for name, row in done.items()}


@pytest.mark.parametrize("size", [0.1, 0.2, 0.4, 0.8])
def test_a_disk_that_is_full_ends_the_batch_and_with_room_the_next_run_finishes(
    template: Template, shoot: Path, out: Path, size: float
) -> None:
    """What runs out of room first is the journal, the file beside it, or a result."""
    disk = Disk(out, round(size * len(_NAMES) * _PHOTO_BYTES), template)
    code, _ = run(template, shoot, out)
    assert code == CannotWrite.exit_code
    finished = read_whole(disk.copy())
    assert len(finished) < len(_NAMES)
    disk.remount(f"size={_ROOM}")
    code, summary = run(template, shoot, out)
    assert (code, summary["protected"], summary["remaining"]) == (0, len(_NAMES) - len(finished), 0)
    afterwards = read_whole(disk.copy())
    assert sorted(afterwards) == _NAMES and finished.items() <= afterwards.items()


@pytest.mark.parametrize(
    ("limit", "exit_code", "count"),
    [(10_000, CannotWrite.exit_code, 0), (60_000, CannotWrite.exit_code, 1), (90_000, SOME_FAILED, 1)],
)
def test_a_limit_for_the_length_of_files_leaves_nothing_half_written(
    template: Template, shoot: Path, out: Path, limit: int, exit_code: int, count: int
) -> None:
    """It stops a result, or the journal or the file beside it."""
    save(shoot / "a.png")
    assert run(template, shoot, out, C2P_FILE_LIMIT=str(limit))[0] == exit_code
    finished = read_whole(out)
    assert len(finished) == count
    assert run(template, shoot, out)[0] == 0
    afterwards = read_whole(out)
    assert sorted(afterwards) == _NAMES and finished.items() <= afterwards.items()


def test_a_disk_that_is_read_only_is_refused_before_anything_is_written(
    template: Template, shoot: Path, out: Path
) -> None:
    disk = Disk(out, _ROOM, template)
    disk.remount("ro")
    assert run(template, shoot, out) == (CannotWrite.exit_code, {})
    assert list(disk.copy().iterdir()) == []
    disk.remount("rw")
    assert run(template, shoot / "day 2", out)[0] == 0
    finished = read_whole(disk.copy())
    disk.remount("ro")
    assert run(template, shoot, out) == (CannotWrite.exit_code, {})
    assert read_whole(disk.copy()) == finished
    disk.remount("rw")
    assert run(template, shoot, out)[0] == 0
    afterwards = read_whole(disk.copy())
    assert len(afterwards) == len(_NAMES) and finished.items() <= afterwards.items()


def test_a_folder_that_is_read_only_costs_its_own_photos(template: Template, shoot: Path, out: Path) -> None:
    disk = Disk(out, _ROOM, template)
    disk.bind(out / "day 2", "ro")
    code, summary = run(template, shoot, out)
    assert (code, summary["protected"]) == (SOME_FAILED, 2)
    assert [failed["error"]["code"] for failed in summary["failed"]] == ["not-written"] * 2
    assert sorted(read_whole(disk.copy())) == _NAMES[:2]
    disk.unmount(out / "day 2")
    code, summary = run(template, shoot, out)
    assert (code, summary["protected"], sorted(read_whole(disk.copy()))) == (0, 2, _NAMES)


def test_a_folder_that_is_mounted_from_the_same_disk_gets_its_results(
    template: Template, shoot: Path, out: Path
) -> None:
    """Nothing can be moved from one mount of a disk into another one."""
    disk = Disk(out, _ROOM, template)
    disk.bind(out / "day 2")
    (shoot / "day 2" / "c.png.xmp").write_bytes(SIDECAR)
    assert run(template, shoot, out)[0] == 0
    copy = disk.copy()
    (copy / "day 2" / "c.png.xmp").unlink()
    assert sorted(read_whole(copy)) == _NAMES
