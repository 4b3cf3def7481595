"""darktable's storage, in a Lua interpreter with darktable's interface around it, and in a real darktable-cli."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from installer import integrations
from installer.places import Places
from tests.integrations.fake_c2p import DAMAGED, NO_FACE, FakeC2p

STUB = Path(__file__).with_name("darktable.lua")
LUA = next((found for name in ("lua5.4", "lua5.3", "lua") if (found := shutil.which(name))), None)
DARKTABLE = shutil.which("darktable-cli")
needs_lua = pytest.mark.skipif(LUA is None, reason="needs a Lua interpreter: apt install lua5.4")
ODD = "it's 100% \"odd\" $HOME"

Export = Callable[..., list[list[str]]]


@pytest.fixture
def c2p(tmp_path: Path) -> FakeC2p:
    return FakeC2p(tmp_path / "my programs" / "bin")


@pytest.fixture
def script(tmp_path: Path, c2p: FakeC2p) -> Path:
    """The storage as it is installed."""
    system = integrations.System({"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}, "linux")
    (tmp_path / "config" / "darktable").mkdir(parents=True)
    (found,) = integrations.find(Places(c2p.folder.parent, tmp_path / "my models"), system)
    (file,) = found.files
    file.path.parent.mkdir()
    file.path.write_bytes(file.body)
    return file.path


@pytest.fixture
def export(tmp_path: Path, script: Path) -> Export:
    """Exports images to the storage; returns what happened."""

    def run(images: Sequence[Path], more: str = "") -> list[list[str]]:
        (tmp_path / "tmp").mkdir(exist_ok=True)
        listed = ", ".join(quote(image) for image in images)
        scenario = tmp_path / "scenario.lua"
        scenario.write_text(
            f"return {{ script = {quote(script)}, tmp_dir = {quote(tmp_path / 'tmp')}, images = {{ {listed} }}, {more} }}"
        )
        ended = subprocess.run([str(LUA), str(STUB), str(scenario)], capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stderr
        assert not (tmp_path / "tmp").is_dir() or not list((tmp_path / "tmp").glob("*.jpg"))
        return [line.split("\t") for line in ended.stdout.splitlines()]

    return run


def quote(path: Path | str) -> str:
    return "[==[" + str(path) + "]==]"


def make_images(folder: Path, *names: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"raw")
    return [folder / name for name in names]


def said(happened: list[list[str]], what: str) -> list[list[str]]:
    return [rest for first, *rest in happened if first == what]


@needs_lua
def test_one_run_protects_all_images_and_each_result_is_imported_beside_its_original(
    tmp_path: Path, c2p: FakeC2p, export: Export
) -> None:
    images = make_images(tmp_path / "first roll", "a b.CR2", f"{ODD}.CR2") + make_images(tmp_path / "second", "a b.CR2")
    happened = export(images)
    targets = [image.with_name(f"{image.stem}.protected.jpg") for image in images]
    assert [target.read_text() for target in targets] == [f"protected pixels of {image}" for image in images]
    assert said(happened, "imported") == [[str(target), target.name.replace(".protected.jpg", ".CR2")] for target in targets]
    assert said(happened, "print") == [["Protect Face: 3 protected"]]
    (call,) = c2p.calls()
    assert call[:3] == ["--models", str(tmp_path / "my models"), "batch"]
    assert all(image.read_bytes() == b"raw" for image in images)
    assert not list((tmp_path / "tmp").iterdir())
