"""The installer's part for other programs: which are found, what is written where, and that only that is removed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from installer import doctor, folders, integrations, main
from installer.folders import Installation
from installer.integrations import System
from installer.placed import RECORD
from tests.error_assertions import installer_sentence
from tests.own_home import move_into

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="rights and links as on Unix")
LINE = 'require "protect-face"  -- by Protect Face, install.py --integrations\n'
FILES = {
    "darktable": [".config/darktable/lua/protect-face.lua", ".config/darktable/luarc"],
    "digiKam": [".local/share/protect-face/integrations/digikam.sh"],
    "Nautilus": [".local/share/nautilus/scripts/Protect Faces"],
    "Dolphin": [
        ".local/share/protect-face/integrations/file-manager.sh",
        ".local/share/kio/servicemenus/protect-face.desktop",
    ],
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, no other program on this machine, and an environment that counts as set up."""
    folder = tmp_path / "home"
    folder.mkdir()
    move_into(folder, tmp_path / "bin", monkeypatch)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(integrations, "FLATPAK_SYSTEM", folder / "no flatpak")
    monkeypatch.setattr(integrations, "MAC_PROGRAMS", folder / "no applications")
    monkeypatch.setattr(main, "set_up", lambda *arguments, **options: None)
    return folder


def add_program(home: Path, name: str) -> None:
    """A program on the PATH."""
    program = home.parent / "bin" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)


def list_written(home: Path) -> list[str]:
    return sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())


# Who is found


@pytest.mark.parametrize("name", FILES)
def test_only_programs_that_are_found_get_their_files(home: Path, name: str) -> None:
    add_program(home, name.lower())
    assert main.main(["--integrations"]) == 0
    assert list_written(home) == sorted([*FILES[name], f".local/share/protect-face/{RECORD}"])


def test_a_program_is_found_by_its_settings_folder(home: Path) -> None:
    (home / "elsewhere" / "darktable").mkdir(parents=True)
    environment = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "elsewhere")}
    programs = integrations.find(folders.find_installation(None, None), System(environment, "linux"))
    assert [program.name for program in programs] == ["darktable"]


@pytest.mark.parametrize(
    ("platform", "folder", "name"),
    [
        ("win32", "local/darktable", "darktable"),
        ("win32", "roaming/Adobe/Lightroom", "Lightroom"),
        ("darwin", "Applications/darktable.app", "darktable"),
        ("darwin", "Applications/digikam.app", "digiKam"),
    ],
)
def test_each_system_has_its_own_folders(home: Path, platform: str, folder: str, name: str) -> None:
    (home / folder).mkdir(parents=True)
    environment = {"HOME": str(home), "USERPROFILE": str(home)}
    environment |= {"LOCALAPPDATA": str(home / "local"), "APPDATA": str(home / "roaming")}
    programs = integrations.find(folders.find_installation(None, None), System(environment, platform))
    assert [program.name for program in programs] == [name]


def test_without_any_program_nothing_is_set_up_and_watching_is_advised(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(main, "set_up")
    assert main.main(["--integrations"]) == 6
    assert installer_sentence("programs-missing").search(capsys.readouterr().err) and list_written(home) == []


def test_a_program_in_a_sandbox_is_told_to_export_into_a_folder(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / ".local/share/flatpak/app/org.darktable.Darktable").mkdir(parents=True)
    assert main.main(["--integrations"]) == 0
    assert "darktable from Flatpak may not start c2p" in capsys.readouterr().out and list_written(home) == []


# What is written


@POSIX
def test_our_scripts_and_the_dolphin_entry_are_executable(home: Path) -> None:
    for name in FILES:
        add_program(home, name.lower())
    main.main(["--integrations"])
    executable = {name for name in list_written(home) if os.access(home / name, os.X_OK)}
    assert executable == {name for names in FILES.values() for name in names if not name.endswith((".lua", "luarc"))}


def test_every_file_names_the_c2p_of_the_environment_and_its_models(home: Path) -> None:
    for name in FILES:
        add_program(home, name.lower())
    main.main(["--integrations", "--venv", str(home / 'my "venv"'), "--models", str(home / "my models")])
    c2p = Installation(home / 'my "venv"', home).c2p
    lua = (home / FILES["darktable"][0]).read_text()
    escaped = str(c2p).replace('"', '\\"')
    assert f'local C2P = {{ "{escaped}", "--models", "{home / "my models"}" }}\n' in lua
    for script in (FILES["digiKam"][0], FILES["Nautilus"][0], FILES["Dolphin"][0]):
        assert f"c2p() {{ '{c2p}' --models '{home / 'my models'}' \"$@\"; }}\n" in (home / script).read_text()


def test_the_default_models_folder_is_not_named(home: Path) -> None:
    add_program(home, "nautilus")
    main.main(["--integrations"])
    assert "--models" not in (home / FILES["Nautilus"][0]).read_text()


def test_a_second_run_changes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in FILES:
        add_program(home, name.lower())
    main.main(["--integrations"])
    before = {name: (home / name).read_bytes() for name in list_written(home)}
    capsys.readouterr()
    assert main.main(["--integrations"]) == 0
    assert {name: (home / name).read_bytes() for name in list_written(home)} == before
    assert "wrote" not in capsys.readouterr().out


def test_an_older_file_of_ours_is_replaced(home: Path) -> None:
    add_program(home, "nautilus")
    main.main(["--integrations", "--venv", str(home / "old")])
    main.main(["--integrations", "--venv", str(home / "new")])
    script = home / FILES["Nautilus"][0]
    assert str(home / "new") in script.read_text()
    main.main(["--uninstall"])
    assert not script.exists()


@pytest.mark.parametrize("changed", [False, True])
def test_somebody_elses_file_stays_and_is_reported(
    home: Path, capsys: pytest.CaptureFixture[str], changed: bool
) -> None:
    add_program(home, "nautilus")
    script = home / FILES["Nautilus"][0]
    if changed:
        main.main(["--integrations"])
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text("mine")
    assert main.main(["--integrations"]) == 1
    assert script.read_text() == "mine" and f"'{script}' is somebody else's" in capsys.readouterr().out
    assert main.main(["--uninstall"]) == 0
    assert script.read_text() == "mine"


def test_a_killed_run_is_continued(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_program(home, "nautilus")
    main.main(["--integrations", "--venv", str(home / "old")])
    script, record = home / FILES["Nautilus"][0], folders.data_home() / RECORD
    old = script.read_bytes()
    main.main(["--integrations"])
    script.write_bytes(old)  # the record was written, the file was not
    assert len(json.loads(record.read_text())["files"][str(script)]) == 2
    assert main.main(["--integrations"]) == 0
    assert script.read_bytes() != old


# darktable's start file, which is the user's


@pytest.mark.parametrize("body", [b"", b"print('mine')\n", b"print('mine')", b"-- \xe4 not UTF-8\r\n"])
def test_the_users_lines_of_luarc_stay(home: Path, body: bytes) -> None:
    luarc = home / FILES["darktable"][1]
    luarc.parent.mkdir(parents=True)
    luarc.write_bytes(body)
    main.main(["--integrations"])
    before = body if body.endswith(b"\n") or not body else body + b"\n"
    assert luarc.read_bytes() == before + LINE.encode()
    main.main(["--integrations"])
    assert luarc.read_bytes() == before + LINE.encode()
    main.main(["--uninstall"])
    assert luarc.read_bytes() == before if body else not luarc.exists()


def test_a_luarc_that_loads_the_script_already_is_left_alone(home: Path) -> None:
    luarc = home / FILES["darktable"][1]
    luarc.parent.mkdir(parents=True)
    luarc.write_text('  require "protect-face"\n')
    assert main.main(["--integrations"]) == 0
    assert main.main(["--uninstall"]) == 0
    assert luarc.read_text() == '  require "protect-face"\n'


@POSIX
def test_a_luarc_that_is_a_link_stays_a_link(home: Path) -> None:
    luarc, target = home / FILES["darktable"][1], home / "dotfiles" / "luarc"
    for path in (luarc, target):
        path.parent.mkdir(parents=True)
    target.write_text("")
    luarc.symlink_to(target)
    main.main(["--integrations"])
    assert luarc.is_symlink() and target.read_text() == LINE
    main.main(["--uninstall"])
    assert luarc.is_symlink() and target.read_text() == ""


# Removal and diagnosis


def test_uninstall_leaves_nothing_of_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in FILES:
        add_program(home, name.lower())
    main.main(["--integrations"])
    waiting = home / ".cache" / "protect-face" / "digikam"
    waiting.mkdir(parents=True)
    (waiting / "0.jpg").touch()
    assert main.main(["--uninstall"]) == 0
    assert list_written(home) == [] and not folders.data_home().exists() and not waiting.parent.exists()
    assert str(home / FILES["Dolphin"][1]) in capsys.readouterr().out


def test_the_diagnosis_lists_the_written_files_and_their_state(home: Path) -> None:
    for name in FILES:
        add_program(home, name.lower())
    main.main(["--integrations"])
    (home / FILES["Nautilus"][0]).unlink()
    (home / FILES["digiKam"][0]).write_text("mine")
    (home / FILES["darktable"][1]).write_text("mine")
    lines: list[str] = []
    doctor.diagnose(folders.find_installation(None, None), lines.append)
    text = "\n".join(lines)
    assert f"~/{FILES['Dolphin'][1]}: as installed" in text
    for name, state in (
        (FILES["Nautilus"][0], "gone"),
        (FILES["digiKam"][0], "changed; move it away and"),
        (FILES["darktable"][1], "without our line"),
    ):
        assert f"'~/{name}' is {state}" in text
