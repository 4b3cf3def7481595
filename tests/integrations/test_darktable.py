"""darktable's storage, in a Lua interpreter with darktable's interface around it, and in a real darktable-cli."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image

from installer import integrations
from installer.folders import Installation
from tests.integrations.fake_c2p import DAMAGED, NO_FACE, FakeC2p, make_fake_c2p

STUB = Path(__file__).with_name("darktable.lua")
LUA = next((found for name in ("lua5.4", "lua5.3", "lua") if (found := shutil.which(name))), None)
DARKTABLE = shutil.which("darktable-cli")
needs_lua = pytest.mark.skipif(LUA is None, reason="needs a Lua interpreter: apt install lua5.4")
ODD = 'it\'s 100% "odd" $HOME'

Export = Callable[..., list[list[str]]]


@pytest.fixture
def c2p(tmp_path: Path) -> Iterator[FakeC2p]:
    with make_fake_c2p(tmp_path / "my programs" / "bin") as fake:
        yield fake


@pytest.fixture
def script(tmp_path: Path, c2p: FakeC2p) -> Path:
    """The storage as it is installed."""
    system = integrations.System({"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}, "linux")
    (tmp_path / "config" / "darktable").mkdir(parents=True)
    (integration,) = integrations.find(Installation(c2p.folder.parent, tmp_path / "my models"), system)
    (file,) = integration.files
    file.path.parent.mkdir()
    file.path.write_bytes(file.body)
    return file.path


@pytest.fixture
def export(tmp_path: Path, script: Path) -> Export:
    """Exports images to the storage; returns what happened."""

    def run(images: Sequence[Path], more: str = "") -> list[list[str]]:
        if not (tmp_path / "tmp").exists():
            (tmp_path / "tmp").mkdir()
        listed = ", ".join(quote(image) for image in images)
        scenario = tmp_path / "scenario.lua"
        scenario.write_text(
            f"return {{ script = {quote(script)}, tmp_dir = {quote(tmp_path / 'tmp')}, "
            f"images = {{ {listed} }}, {more} }}"
        )
        ended = subprocess.run([str(LUA), str(STUB), str(scenario)], capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stderr
        assert not list((tmp_path / "tmp").glob("*.jpg"))
        return [line.split("\t") for line in ended.stdout.splitlines()]

    return run


def quote(path: Path | str) -> str:
    return "[==[" + str(path) + "]==]"


def make_images(folder: Path, *names: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"raw")
    return [folder / name for name in names]


def select_events(happened: list[list[str]], what: str) -> list[list[str]]:
    return [rest for first, *rest in happened if first == what]


@needs_lua
def test_one_run_protects_all_images_and_each_result_is_imported_beside_its_original(
    tmp_path: Path, c2p: FakeC2p, export: Export
) -> None:
    images = make_images(tmp_path / "first roll", "a b.CR2", f"{ODD}.CR2") + make_images(tmp_path / "second", "a b.CR2")
    happened = export(images)
    targets = [image.with_name(f"{image.stem}.protected.jpg") for image in images]
    assert [target.read_text() for target in targets] == [f"protected pixels of {image}" for image in images]
    assert select_events(happened, "imported") == [
        [str(target), target.name.replace(".protected.jpg", ".CR2")] for target in targets
    ]
    assert select_events(happened, "print") == [["Protect Face: 3 protected"]]
    (call,) = c2p.calls()
    assert (call.models, call.command) == (tmp_path / "my models", "batch")
    assert call.arguments["with_report"] is False and "strip_personal" not in call.arguments
    assert all(image.read_bytes() == b"raw" for image in images)
    assert not list((tmp_path / "tmp").iterdir())


@needs_lua
def test_prompt_strength_and_metadata_are_chosen_in_the_panel_and_kept(
    tmp_path: Path, c2p: FakeC2p, export: Export
) -> None:
    images = make_images(tmp_path / "roll", "a.CR2")
    change = "set = function(panel) panel[2].text = '  red lipstick '; panel[3].value = 0.3; panel[4].value = true end"
    happened = export(images, change)
    assert select_events(happened, "widget")[1:] == [
        ["entry", "natural makeup"],
        ["slider", "0.5"],
        ["check_button", "false"],
    ]
    preferences = dict(select_events(happened, "preference"))
    assert preferences == {"prompt": "red lipstick", "strength": "0.30", "strip-personal": "yes"}
    (call,) = c2p.calls()
    chosen = {"prompt": "red lipstick", "strength": 0.3, "strip_personal": True}
    assert {name: call.arguments[name] for name in chosen} == chosen
    saved = ", ".join(f"['protect_face/{name}'] = {quote(value)}" for name, value in preferences.items())
    happened = export(images, f"preferences = {{ {saved} }}")
    assert select_events(happened, "widget")[1:] == [
        ["entry", "red lipstick"],
        ["slider", "0.3"],
        ["check_button", "true"],
    ]


@needs_lua
def test_without_a_window_the_kept_settings_are_used(tmp_path: Path, c2p: FakeC2p, export: Export) -> None:
    export(
        make_images(tmp_path / "roll", "a.CR2"), "headless = true, preferences = { ['protect_face/strength'] = '0.8' }"
    )
    (call,) = c2p.calls()
    assert (call.arguments["strength"], call.arguments["prompt"]) == (0.8, "natural makeup")


@needs_lua
def test_only_formats_that_c2p_writes_are_offered(tmp_path: Path, export: Export) -> None:
    happened = export(make_images(tmp_path / "roll", "a.CR2"))
    assert select_events(happened, "supported") == [["jpeg"], ["png"], ["tiff"], ["webp"], ["avif"]]


@needs_lua
def test_photos_without_a_result_are_named_with_the_reason_and_the_others_arrive(
    tmp_path: Path, export: Export
) -> None:
    images = make_images(tmp_path / "roll", f"{NO_FACE}.CR2", "b.CR2", f"{DAMAGED}.CR2")
    ((message,),) = select_events(export(images), "print")
    assert message == (
        "Protect Face: 1 protected, 2 not:"
        f"|{NO_FACE}.jpg: No face was found.|{DAMAGED}.jpg: '{DAMAGED}.jpg' is damaged."
    )
    assert (tmp_path / "roll" / "b.protected.jpg").exists()
    assert not list((tmp_path / "tmp").iterdir())


@needs_lua
def test_the_reason_for_a_failed_run_is_shown(tmp_path: Path, c2p: FakeC2p, export: Export) -> None:
    c2p.fail("the strength must be from 0 to 1.")
    ((message,),) = select_events(export(make_images(tmp_path / "roll", "a.CR2")), "print")
    assert message.endswith("a.jpg: the strength must be from 0 to 1.")
    assert not list((tmp_path / "tmp").iterdir())


@needs_lua
def test_results_of_earlier_exports_stay(tmp_path: Path, export: Export) -> None:
    images = make_images(tmp_path / "roll", "a.CR2")
    (tmp_path / "roll" / "a.protected.jpg").write_text("mine")
    (tmp_path / "roll" / "a.protected-2.jpg").write_text("mine too")
    happened = export(images)
    assert select_events(happened, "imported") == [[str(tmp_path / "roll" / "a.protected-3.jpg"), "a.CR2"]]
    assert (tmp_path / "roll" / "a.protected.jpg").read_text() == "mine"


@needs_lua
def test_cancelling_ends_c2p_and_keeps_what_is_finished(tmp_path: Path, c2p: FakeC2p, export: Export) -> None:
    images = make_images(tmp_path / "roll", "a.CR2", "b.CR2")
    c2p.hang()
    happened = export(images, f"cancel_when = {quote(c2p.folder / 'hanging')}")
    assert select_events(happened, "print") == [["Protect Face: 1 protected, cancelled"]]
    assert sorted(path.name for path in (tmp_path / "roll").glob("*.jpg")) == ["a.protected.jpg"]
    assert not list((tmp_path / "tmp").iterdir())


@needs_lua
def test_progress_is_that_of_finished_photos_and_the_job_ends(tmp_path: Path, export: Export) -> None:
    happened = export(make_images(tmp_path / "roll", "a.CR2", "b.CR2"))
    assert select_events(happened, "job") == [["protecting faces in 2 photos"]]
    assert select_events(happened, "job percent")
    assert select_events(happened, "job valid") == [["false"]]


@needs_lua
def test_a_program_that_is_gone_is_reported(tmp_path: Path, c2p: FakeC2p, export: Export) -> None:
    c2p.path.unlink()
    ((message,),) = select_events(export(make_images(tmp_path / "roll", "a.CR2")), "print")
    assert str(c2p.path) in message and "install.py --integrations" in message
    assert not list((tmp_path / "tmp").iterdir())


@needs_lua
def test_a_result_that_cannot_be_put_beside_its_original_is_kept_and_the_unprotected_copy_is_not(
    tmp_path: Path, export: Export
) -> None:
    happened = export([tmp_path / "unplugged disk" / "a.CR2"])
    assert [message.split(" (")[0] for (message,) in select_events(happened, "print")] == [
        "Protect Face: 0 protected, 1 not:|a.jpg: it can't be put beside the original",
        f"Protect Face: results are in {next((tmp_path / 'tmp').iterdir())}/results",
    ]
    (folder,) = (tmp_path / "tmp").iterdir()
    assert [path.name for path in folder.glob("*/*.jpg")] == ["000001-a.jpg"]
    assert (folder / "results" / "000001-a.jpg").exists() and folder.stat().st_mode & 0o77 == 0


@needs_lua
def test_nothing_is_exported_where_no_folder_can_be_made(tmp_path: Path, c2p: FakeC2p, export: Export) -> None:
    (tmp_path / "tmp").write_text("a file")
    happened = export(make_images(tmp_path / "roll", "a.CR2"))
    assert select_events(happened, "chosen") == [["0"]]
    assert select_events(happened, "print") == [[f"Protect Face: no folder can be made in {tmp_path / 'tmp'}"]]
    assert c2p.calls() == []


@pytest.mark.host
@pytest.mark.skipif(DARKTABLE is None, reason="needs a real darktable: apt install darktable")
def test_a_real_darktable_exports_protects_and_imports(tmp_path: Path, c2p: FakeC2p, script: Path) -> None:
    photos = []
    for folder, colour in (("first roll", (200, 120, 90)), ("second", (90, 120, 200))):
        (tmp_path / folder).mkdir()
        photos.append(tmp_path / folder / "IMG 1.jpg")
        Image.new("RGB", (64, 48), colour).save(photos[-1])
    # darktable-cli reads no luarc of the user's, and ends when its own export does. So the export that it is asked for
    # waits for this one, which takes the functions of the storage on their way to darktable.
    luarc = script.parent.parent / "luarc"
    luarc.write_text('require "protect-face"  -- by Protect Face, install.py --integrations\n')
    driver = tmp_path / "driver.lua"
    driver.write_text(
        f"""
local dt = require "darktable"
local register, storage, begun = dt.register_storage, {{}}, false
dt.register_storage = function(...)
  storage.name, storage.label, storage.store, storage.finalize, storage.supported, storage.initialize = ...
  register(...)
end
dofile({quote(luarc)})
dt.register_event("test", "intermediate-export-image", function()
  if begun then return end
  begun = true
  local images, extra, format = {{}}, {{}}, dt.new_format("jpeg")
  for number, path in ipairs {{ {", ".join(map(quote, photos))} }} do images[number] = dt.database.import(path) end
  assert(storage.supported(nil, format) and not storage.supported(nil, dt.new_format("exr")))
  assert(storage.initialize(nil, format, images, true, extra) == nil)
  for number, image in ipairs(images) do
    local exported = dt.configuration.tmp_dir .. "/IMG 1.jpg"
    format:write_image(image, exported)
    storage.store(nil, image, format, exported, number, #images, true, extra)
  end
  storage.finalize(nil, {{}}, extra)
  local file = io.open({quote(tmp_path / "seen")}, "w")
  for _, image in ipairs(dt.database) do
    local leader = image.group_leader
    file:write(image.path, "/", image.filename, "\\t", leader.path, "\\t", leader.filename, "\\n")
  end
  file:close()
end)
"""
    )
    home = script.parent.parent
    (tmp_path / "tmp").mkdir()
    core = [
        "--configdir",
        home,
        "--cachedir",
        tmp_path / "cache",
        "--tmpdir",
        tmp_path / "tmp",
        "--library",
        ":memory:",
    ]
    Image.new("RGB", (64, 48)).save(tmp_path / "waits.jpg")
    command = [DARKTABLE, tmp_path / "waits.jpg", tmp_path / "out.jpg", "--core", *core]
    command += ["-d", "lua", "--luacmd", f"dofile({quote(driver)})"]
    ended = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"HOME": str(tmp_path)},
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert len(c2p.calls()) == 1
    rows = (tmp_path / "seen").read_text().splitlines()
    for photo in photos:
        target = photo.with_name("IMG 1.protected.jpg")
        assert target.read_bytes().startswith(b"protected \xff\xd8")
        assert f"{target}\t{photo.parent}\t{photo.name}" in rows
    assert not list((tmp_path / "tmp").iterdir())
