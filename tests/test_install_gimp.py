"""The installer's part for GIMP: homes as each platform lays them out, repair, zips, the diagnosis, and removal."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from worker_client import crash_report
from worker_client.constants import PROTOCOL

from c2p_core.priors.inversion_cache import InversionCache
from installer import doctor, folders, gimp, gimps, main, plug_in, worker, zips
from installer.folders import MARKER, Installation
from installer.gimps import Profile, Program
from installer.problems import Stop
from tests.checkout import ROOT, environment
from tests.error_assertions import installer_sentence
from tests.own_home import lock, move_into

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="permissions and programs as on Unix")
# What the installed package has, as far as the installer knows it: bytes in a place.
GERMAN = {"locale/de/LC_MESSAGES/protect-face.mo": b"Gesicht"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, no GIMP on this machine, and a small plug-in to install."""
    folder = tmp_path / "home"
    folder.mkdir()
    move_into(folder, tmp_path / "bin", monkeypatch)
    source = tmp_path / "plugin"
    for name in plug_in.NAMES.values():
        (source / name).mkdir(parents=True)
        (source / name / f"{name}.py").write_text("print('the program')\n")
        (source / name / "part.py").write_text("")
    (source / "worker_client" / "__pycache__").mkdir(parents=True)
    (source / "worker_client" / "__init__.py").write_text("")
    german = source / "worker_client" / "locale" / "de" / "LC_MESSAGES"
    german.mkdir(parents=True)
    (german / "protect-face.po").touch()
    (german / "protect-face.mo").touch()  # of an editable installation, and older
    (source / "worker_client" / "__pycache__" / "x.pyc").write_bytes(b"")
    monkeypatch.setattr(plug_in, "SOURCE", source)
    return folder


@pytest.fixture
def installation(home: Path) -> Installation:
    return folders.find_installation(None, None)


def make_profile(home: Path, version: str, base: str = ".config/GIMP") -> Path:
    folder = home / base / version
    (folder / "plug-ins").mkdir(parents=True)
    return folder


def make_fake_gimp(folder: Path, name: str, version: str, *, knows: bool = True, python: bool = True) -> Path:
    """A program that answers as GIMP does, and makes its folder at its first start."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    short = ".".join(version.split(".")[:2])
    code = 0 if knows else 64 if python else 69
    program.write_text(
        f"""#!{sys.executable}
import os, sys
if "--version" in sys.argv:
    print("GNU Image Manipulation Program version {version}")
    sys.exit()
os.makedirs(os.path.expanduser("~/.config/GIMP/{short}/plug-ins"), exist_ok=True)
open(os.path.expanduser("~/started"), "a").write("x")
print("PROTECT-FACE {int(knows)}{int(python)}")
sys.exit({code} if "--batch-interpreter=python-fu-eval" in sys.argv else 0)
"""
    )
    program.chmod(0o755)
    return program


def ignore(text: str) -> None:
    pass


# Which folders


@pytest.mark.parametrize(
    ("platform", "folders", "variables"),
    [
        ("linux", [".config/GIMP/2.10", ".config/GIMP/3.0", ".config/GIMP/3.2"], {}),
        ("linux", ["other/GIMP/3.0"], {"XDG_CONFIG_HOME": "other"}),
        ("linux", ["snap/gimp/current/.config/GIMP/3.0"], {}),
        ("win32", ["roaming/GIMP/2.10", "roaming/GIMP/3.0"], {"APPDATA": "roaming"}),
        ("win32", ["AppData/Roaming/GIMP/3.0"], {}),
        (
            "win32",
            ["local/Packages/GIMP.GIMP_x1/LocalCache/Roaming/GIMP/3.2"],
            {"LOCALAPPDATA": "local"},
        ),
        ("darwin", ["Library/Application Support/GIMP/3.0"], {}),
    ],
)
def test_every_gimp_folder_is_found(home: Path, platform: str, folders: list[str], variables: dict[str, str]) -> None:
    for folder in [
        *folders,
        *(f"{Path(folder).parent.as_posix()}/{other}" for folder in folders for other in ("2.8", "x")),
    ]:
        (home / folder).mkdir(parents=True, exist_ok=True)
    environment = {"HOME": str(home), "USERPROFILE": str(home)}
    environment |= {name: str(home / value) for name, value in variables.items()}
    profiles = gimps.find_profiles(environment, platform)
    assert [profile.folder for profile in profiles] == [home / folder for folder in folders]
    assert [profile.version for profile in profiles] == [Path(folder).name for folder in folders]


def test_a_folder_named_by_gimps_own_variable_is_found(home: Path) -> None:
    (home / "portable").mkdir()
    (profile,) = gimps.find_profiles({"HOME": str(home), "GIMP3_DIRECTORY": "portable"}, "linux")
    assert (profile.folder, profile.generation) == (home / "portable", 3)


def test_only_a_gimp_from_snap_has_a_folder_of_its_own_sandbox(home: Path) -> None:
    make_profile(home, "3.0")
    make_profile(home, "3.0", "snap/gimp/current/.config/GIMP")
    assert [profile.confined for profile in gimps.find_profiles()] == [False, True]


@POSIX
def test_a_folder_that_may_not_be_listed_is_reported_and_other_gimps_are_installed_into(
    home: Path, installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_profile(home, "3.0")
    other = make_profile(home, "3.0", "snap/gimp/current/.config/GIMP") / "plug-ins" / "protect-face"
    lock(home / ".config", monkeypatch)
    first, second = gimp.install(installation, gimp.find_installed(), ignore)
    assert (first.name, first.trouble) == (str(other), "") and other.is_dir()
    assert second.name == str(home / ".config" / "GIMP")
    assert installer_sentence("not-readable", reason="Permission denied").search(second.trouble)
    assert main.main(["--uninstall"]) == 5
    assert not other.exists()
    assert installer_sentence("removal-not-permitted", reason="Permission denied").search(capsys.readouterr().err)


@POSIX
def test_an_unreadable_only_gimp_is_reported_before_anything_is_set_up(
    tmp_path: Path, home: Path, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_profile(home, "3.0")
    lock(home / ".config", monkeypatch)
    with pytest.raises(Stop) as problem:
        gimp.find_installed()
    assert (problem.value.code, problem.value.exit_code) == ("not-readable", 5)
    make_fake_gimp(tmp_path / "bin", "gimp-console-3.0", "3.0.4")
    outcomes = gimp.install(installation, gimp.find_installed(), ignore)
    assert installer_sentence("not-readable", reason="Permission denied").search(outcomes[0].trouble)


@POSIX
def test_each_gimp_is_listed_once_with_its_console_program(tmp_path: Path, home: Path) -> None:
    console = make_fake_gimp(tmp_path / "bin", "gimp-console-3.0", "3.0.4")
    (tmp_path / "bin" / "gimp-console").symlink_to(console)
    make_fake_gimp(tmp_path / "bin", "gimp", "3.0.4")
    make_fake_gimp(tmp_path / "bin", "gimp-console-2.10", "2.10.22")
    image = make_fake_gimp(home / "Applications", "GIMP-3.2.0-x86_64.AppImage", "3.2.0")
    programs = {(program.version, program.packaging): program.command for program in gimps.find_programs()}
    assert set(programs) == {("3.0.4", "system"), ("2.10.22", "system"), ("3.2.0", "AppImage")}
    assert programs["3.0.4", "system"] == (str(console),) and programs["3.2.0", "AppImage"] == (str(image),)


@POSIX
def test_a_gimp_that_does_not_start_is_not_listed(tmp_path: Path) -> None:
    broken = tmp_path / "bin" / "gimp-console-3.0"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'libexample.so.3.1 not found'; exit 127\n")
    broken.chmod(0o755)
    assert gimps.find_programs() == ()


@POSIX
def test_programs_in_the_usual_folders_of_windows_and_macos_are_found(tmp_path: Path, home: Path) -> None:
    environment = {"HOME": str(home), "USERPROFILE": str(home), "ProgramFiles": str(tmp_path / "files")}
    make_fake_gimp(tmp_path / "files" / "GIMP 3" / "bin", "gimp-console-3.0.exe", "3.0.4")
    make_fake_gimp(home / "Applications" / "GIMP.app" / "Contents" / "MacOS", "gimp-console-3.0", "3.0.2")
    assert [program.version for program in gimps.find_programs(environment, "win32")] == ["3.0.4"]
    assert [program.version for program in gimps.find_programs(environment, "darwin")] == ["3.0.2"]


# Installing and repairing


def test_a_plug_in_lies_where_gimp_reads_it(home: Path, installation: Installation) -> None:
    for version, name in (("3.0", "protect-face"), ("2.10", "protect-face-gimp2")):
        folder = make_profile(home, version) / "plug-ins" / name
        profile = next(p for p in gimps.find_profiles() if p.version == version)
        assert plug_in.write(profile, worker.make_pointer(installation), GERMAN)
        assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
            MARKER,
            "part.py",
            "protect-face-worker.json",
            f"{name}.py",
            "worker_client/__init__.py",
            "worker_client/locale/de/LC_MESSAGES/protect-face.mo",
        }
        assert plug_in.find_differences(profile, worker.make_pointer(installation), GERMAN) == []


@POSIX
def test_the_program_alone_is_executable(home: Path, installation: Installation) -> None:
    folder = make_profile(home, "3.0") / "plug-ins" / "protect-face"
    plug_in.write(gimps.find_profiles()[0], worker.make_pointer(installation), GERMAN)
    runnable = [path.name for path in folder.rglob("*") if path.is_file() and os.access(path, os.X_OK)]
    assert runnable == ["protect-face.py"]


def test_the_pointer_leads_to_this_environment(installation: Installation) -> None:
    name, content = worker.make_pointer(installation)
    pointer = json.loads(content)
    assert name == "protect-face-worker.json"
    assert pointer["command"] == [str(installation.python), "-I", "-u", "-m", "c2p_core.worker"]
    assert pointer["environment"] == {"C2P_MODELS": str(installation.models)}
    assert Path(pointer["run"]) == folders.data_home() / "run" and Path(pointer["run"]).is_absolute()


def test_the_worker_knows_an_installation_in_a_folder_of_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C2P_HOME", str(home / "all"))
    pointer = json.loads(worker.make_pointer(folders.find_installation(None, None))[1])
    assert pointer["run"] == str(home / "all" / "run")
    assert pointer["environment"] == {"C2P_MODELS": str(home / "all" / "models"), "C2P_HOME": str(home / "all")}


def test_the_client_reads_the_pointer_as_it_was_written(
    tmp_path: Path, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, content = worker.make_pointer(installation)
    (tmp_path / name).write_bytes(content)
    monkeypatch.setenv("C2P_WORKER_POINTER", str(tmp_path / name))
    location = worker.import_client().location.find_worker()
    assert location.command[0] == str(installation.python) and location.run_folder == str(folders.data_home() / "run")


def test_a_second_run_changes_nothing(home: Path, installation: Installation) -> None:
    make_profile(home, "3.0")
    (profile,) = gimps.find_profiles()
    assert plug_in.write(profile, worker.make_pointer(installation), GERMAN)
    before = {path: path.stat().st_mtime_ns for path in plug_in.find_folder(profile).rglob("*")}
    assert not plug_in.write(profile, worker.make_pointer(installation), GERMAN)
    assert {path: path.stat().st_mtime_ns for path in plug_in.find_folder(profile).rglob("*")} == before


def test_files_compiled_by_gimps_python_are_no_fault_and_are_removed_by_an_upgrade(
    home: Path, installation: Installation
) -> None:
    make_profile(home, "3.0")
    (profile,) = gimps.find_profiles()
    plug_in.write(profile, worker.make_pointer(installation), GERMAN)
    compiled = [plug_in.find_folder(profile) / name for name in ("part.pyc", "worker_client/__pycache__/x.pyc")]
    for path in compiled:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert plug_in.find_differences(profile, worker.make_pointer(installation), GERMAN) == []
    spoil(plug_in.find_folder(profile), "edited")
    plug_in.write(profile, worker.make_pointer(installation), GERMAN)
    assert not any(path.exists() for path in compiled)


def spoil(folder: Path, fault: str) -> None:
    if fault == "missing":
        (folder / "part.py").unlink()
    elif fault == "edited":
        (folder / "part.py").write_text("old")
    elif fault == "stale":
        (folder / "gone.py").touch()
    elif fault == "not executable":
        (folder / "protect-face.py").chmod(0o644)
    elif fault == "pointer":
        (folder / "protect-face-worker.json").write_text("{}")
    else:
        (folder / MARKER).write_text('{"state": "incomplete"}')


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("missing", "part.py is missing"),
        ("edited", "part.py is of another version"),
        ("stale", "gone.py does not belong there"),
        pytest.param("not executable", "protect-face.py is not executable", marks=POSIX),
        ("pointer", "protect-face-worker.json leads elsewhere"),
        ("incomplete", "an installation was cut short"),
    ],
)
def test_faults_are_named_and_repaired(home: Path, installation: Installation, fault: str, expected: str) -> None:
    make_profile(home, "3.0")
    (profile,) = gimps.find_profiles()
    plug_in.write(profile, worker.make_pointer(installation), GERMAN)
    spoil(plug_in.find_folder(profile), fault)
    (difference,) = plug_in.find_differences(profile, worker.make_pointer(installation), GERMAN)
    assert expected in difference
    assert plug_in.write(profile, worker.make_pointer(installation), GERMAN)
    assert plug_in.find_differences(profile, worker.make_pointer(installation), GERMAN) == []


def test_a_killed_installation_leaves_a_mark_and_is_continued(
    home: Path, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_profile(home, "3.0")
    (profile,) = gimps.find_profiles()
    put, left = plug_in.replace_file, iter(range(3))

    def kill_copy(*arguments: Any, **options: Any) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        put(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(plug_in, "replace_file", kill_copy)
        with pytest.raises(KeyboardInterrupt):
            plug_in.write(profile, worker.make_pointer(installation), GERMAN)
    assert "incomplete: an installation was cut short" in plug_in.find_differences(
        profile, worker.make_pointer(installation), GERMAN
    )
    plug_in.write(profile, worker.make_pointer(installation), GERMAN)
    assert plug_in.find_differences(profile, worker.make_pointer(installation), GERMAN) == []


def test_somebody_elses_plug_in_of_that_name_stays(home: Path, installation: Installation) -> None:
    folder = make_profile(home, "3.0") / "plug-ins" / "protect-face"
    folder.mkdir()
    (folder / "mine.py").touch()
    with pytest.raises(Stop) as stopped:
        plug_in.write(gimps.find_profiles()[0], worker.make_pointer(installation), GERMAN)
    assert stopped.value.code == "plug-in-not-ours"
    with pytest.raises(Stop) as stopped:
        gimp.remove_from(gimps.find_profiles()[0])
    assert stopped.value.code == "removal-not-ours"
    assert [path.name for path in folder.iterdir()] == ["mine.py"]


@POSIX
def test_a_link_to_a_checkout_stays(home: Path, installation: Installation, tmp_path: Path) -> None:
    link = make_profile(home, "3.0") / "plug-ins" / "protect-face"
    link.symlink_to(tmp_path / "plugin" / "protect-face")
    with pytest.raises(Stop) as stopped:
        plug_in.write(gimps.find_profiles()[0], worker.make_pointer(installation), GERMAN)
    assert stopped.value.code == "plug-in-not-ours"


def test_a_folder_that_cannot_be_written_is_named(home: Path, installation: Installation) -> None:
    profile = Profile(make_profile(home, "3.0"), "3.0")
    profile.plug_ins.rmdir()
    profile.plug_ins.touch()
    with pytest.raises(Stop) as stopped:
        plug_in.write(profile, worker.make_pointer(installation), GERMAN)
    assert stopped.value.code == "plug-in-not-writable"
    assert stopped.value.fields["folder"] == plug_in.find_folder(profile)


@POSIX
def test_one_gimp_that_fails_does_not_keep_the_others_from_it(home: Path, installation: Installation) -> None:
    (make_profile(home, "2.10") / "plug-ins" / "protect-face-gimp2" / "mine").mkdir(parents=True)
    make_profile(home, "3.0")
    first, second = gimp.install(installation, gimp.find_installed(), ignore)
    assert "was not made by" in first.trouble and not second.trouble


@POSIX
def test_a_gimp_that_never_ran_makes_its_folder_itself(tmp_path: Path, home: Path, installation: Installation) -> None:
    make_fake_gimp(tmp_path / "bin", "gimp-console-3.0", "3.0.4")
    folder, program = gimp.install(installation, gimp.find_installed(), ignore)
    assert (home / ".config" / "GIMP" / "3.0" / "plug-ins" / "protect-face" / "protect-face.py").exists()
    assert not folder.trouble and program == gimp.Outcome("GIMP 3.0.4 (system)")


def test_without_any_gimp_the_advice_is_given_before_anything_is_installed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["--gimp"]) == 6
    assert installer_sentence("gimp-missing").search(capsys.readouterr().err)
    assert list(home.iterdir()) == []


@POSIX
@pytest.mark.parametrize("version", ["3.0.4", "2.10.22"])
@pytest.mark.parametrize(
    ("knows", "python", "expected"), [(True, True, "there"), (False, True, "missing"), (False, False, "no Python")]
)
def test_a_gimp_is_asked_whether_it_has_the_filter(
    tmp_path: Path, version: str, knows: bool, python: bool, expected: str
) -> None:
    program = make_fake_gimp(tmp_path / "bin", "gimp", version, knows=knows, python=python)
    assert gimp.check_registration(Program((str(program),), "system", version)) == expected


def test_a_gimp_that_cannot_be_started_did_not_answer() -> None:
    assert gimp.check_registration(Program(("/nowhere/gimp",), "system", "3.0.4")) == "no answer"


def test_copies_in_wrong_places_are_named(home: Path, installation: Installation) -> None:
    plug_ins = make_profile(home, "3.0") / "plug-ins"
    (plug_ins / "protect-face" / "protect-face").mkdir(parents=True)
    for stray in ("protect-face.py", "protect-face/protect-face/protect-face.py"):
        (plug_ins / stray).touch()
    assert plug_in.find_strays(gimps.find_profiles()[0]) == [
        plug_ins / "protect-face.py",
        plug_ins / "protect-face" / "protect-face" / "protect-face.py",
    ]


@POSIX
def test_install_py_gimp_says_what_it_did_and_how_to_undo_it(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_fake_gimp(tmp_path / "bin", "gimp-console-3.0", "3.0.4", knows=False)
    monkeypatch.setattr(main, "set_up", lambda *arguments, **options: None)
    assert main.main(["--gimp"]) == 1
    output = capsys.readouterr().out
    assert f"wrote {home}" in output and "GIMP 3.0.4 (system): It does not see the filter" in output
    assert "install.py --uninstall" in output and "install.py --doctor" in output


@POSIX
def test_install_py_gimp_ends_the_worker_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_fake_gimp(tmp_path / "bin", "gimp-console-3.0", "3.0.4", knows=False)
    ended: list[Installation] = []
    monkeypatch.setattr(main, "set_up", lambda *arguments, **options: None)
    monkeypatch.setattr(worker, "end_worker", lambda installation: not ended.append(installation))
    main.main(["--gimp"])
    assert len(ended) == 1 and "ended the worker" in capsys.readouterr().out


def test_users_of_a_confined_gimp_are_told_where_the_workers_command_is(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gimp, "is_flatpak_installed", lambda: True)
    assert f"'{installation.c2p} worker run'" in gimp.advise_on_sandbox(installation)


# Zips


def test_there_is_a_zip_per_platform_and_plug_in_with_one_top_folder(tmp_path: Path) -> None:
    paths = zips.make_zips(GERMAN, tmp_path / "dist")
    assert len(paths) == 6
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            (top,) = {name.partition("/")[0] for name in names}
            assert {f"{top}/{top}.py", f"{top}/worker_client/__init__.py", f"{top}/INSTALL.txt"} <= set(names)
            assert f"{top}/worker_client/locale/de/LC_MESSAGES/protect-face.mo" in names
            modes = {name: archive.getinfo(name).external_attr >> 16 & 0o777 for name in names}
            assert [name for name, mode in modes.items() if mode & 0o111] == [f"{top}/{top}.py"]
            instructions = archive.read(f"{top}/INSTALL.txt").decode()
            assert ("%APPDATA%" in instructions) == ("windows" in path.name)


def test_files_of_a_zip_are_newer_than_those_that_gimp_has_read(tmp_path: Path) -> None:
    before = time.localtime()[:5]
    with zipfile.ZipFile(zips.make_zips(GERMAN, tmp_path / "dist")[0]) as archive:
        assert all(entry.date_time[:5] >= before for entry in archive.infolist())


def test_a_plug_in_unpacked_by_hand_is_taken_over(tmp_path: Path, home: Path, installation: Installation) -> None:
    path = next(path for path in zips.make_zips(GERMAN, tmp_path / "dist") if path.name.startswith("protect-face-0"))
    with zipfile.ZipFile(path) as archive:
        archive.extractall(make_profile(home, "3.0") / "plug-ins")
    (profile,) = gimps.find_profiles()
    differences = plug_in.find_differences(profile, worker.make_pointer(installation), GERMAN)
    assert "unpacked from a zip" in differences and not [line for line in differences if "cut short" in line]
    assert plug_in.write(profile, worker.make_pointer(installation), GERMAN)
    assert plug_in.find_differences(profile, worker.make_pointer(installation), GERMAN) == []


def test_zips_are_made_after_the_environment_is_set_up(
    tmp_path: Path, installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(main, "set_up", lambda installation, **options: install_translations(installation))
    monkeypatch.setattr(zips, "make_zips", lambda compiled: calls.append(compiled) or [tmp_path / "one.zip"])
    assert main.main(["--make-zip"]) == 0
    assert calls == [GERMAN] and capsys.readouterr().out == f"{tmp_path / 'one.zip'}\n"


# Diagnosis


def diagnose(installation: Installation) -> tuple[int, str]:
    lines: list[str] = []
    return doctor.diagnose(installation, lines.append), "\n".join(lines)


def test_the_diagnosis_works_before_anything_is_installed(installation: Installation) -> None:
    code, output = diagnose(installation)
    assert code == 1
    assert "The environment is not there" in output and "No GIMP was found" in output


@POSIX
def test_the_diagnosis_says_what_each_gimp_has(tmp_path: Path, home: Path, installation: Installation) -> None:
    make_fake_gimp(tmp_path / "bin", "gimp-console-3.0", "3.0.4", knows=False)
    gimp.install(installation, gimp.find_installed(), ignore)
    (home / ".config" / "GIMP" / "3.0" / "plug-ins" / "protect-face" / "part.py").unlink()
    _, output = diagnose(installation)
    assert "protect-face: part.py is missing" in output
    assert f"protect-face-worker.json: protocol {PROTOCOL}, ~" in output
    assert "GIMP 3.0.4, system" in output and "does NOT see the filter" in output


@POSIX
def test_the_diagnosis_starts_no_gimp_that_never_ran(tmp_path: Path, home: Path, installation: Installation) -> None:
    make_fake_gimp(tmp_path / "bin", "gimp-console-3.0", "3.0.4")
    code, output = diagnose(installation)
    assert code == 1 and "GIMP 3.0.4, system" in output and "has never run; not checked" in output
    assert list(home.iterdir()) == []


def test_the_diagnosis_names_a_pointer_that_leads_nowhere(home: Path, installation: Installation) -> None:
    make_profile(home, "3.0")
    plug_in.write(gimps.find_profiles()[0], worker.make_pointer(installation), GERMAN)
    _, output = diagnose(installation)
    assert "bin/python', which is not there" in output.replace("Scripts\\python.exe", "bin/python")


def test_the_diagnosis_names_a_plug_in_where_flatpaks_gimp_does_not_look(
    home: Path, installation: Installation
) -> None:
    make_profile(home, "3.0", ".var/app/org.gimp.GIMP/config/GIMP").joinpath("plug-ins", "protect-face").mkdir()
    if sys.platform.startswith("linux"):
        assert "GIMP 3 does not read '~/.var" in diagnose(installation)[1]


@POSIX
def test_the_diagnosis_shows_the_end_of_the_log_and_no_secret(home: Path, installation: Installation) -> None:
    run, log = folders.data_home() / "run", folders.log_home() / "worker.log"
    for folder in (run, log.parent):
        folder.mkdir(parents=True)
    run.chmod(0o700)
    token = "0123456789abcdef" * 4
    log.write_text("".join(f"line {number} in {home}/photos, {token}\n" for number in range(100)))
    endpoint = {"protocol": PROTOCOL, "version": "0.1.0", "pid": 1, "transport": "unix", "address": "x", "token": token}
    (run / "worker.json").touch(mode=0o600)
    (run / "worker.json").write_text(json.dumps(endpoint | {"log": str(log)}))
    code, output = diagnose(installation)
    assert "line 99 in ~/photos" in output and "line 10 " not in output
    assert token not in output and str(home) not in output
    assert code == 1


@POSIX
def test_the_diagnosis_names_a_run_folder_that_others_can_enter(installation: Installation) -> None:
    run = folders.data_home() / "run"
    run.mkdir(parents=True)
    run.chmod(0o755)
    assert "can be entered by others" in diagnose(installation)[1]


@POSIX
def test_the_diagnosis_continues_after_a_folder_that_it_may_not_read(
    home: Path, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_profile(home, "3.0")
    (home / ".local").mkdir()
    lock(home / ".local", monkeypatch)
    lock(home / ".config", monkeypatch)
    code, output = diagnose(installation)
    assert code == 1 and "== GIMP" in output
    assert "(can't be looked at: Permission denied)" in output
    assert "'~/.config/GIMP" in output and installer_sentence("not-readable", reason="Permission denied").search(output)


def install_translations(installation: Installation) -> None:
    """Leaves the translations where pip puts them."""
    windows = sys.platform == "win32"
    packages = installation.venv / ("Lib/site-packages" if windows else "lib/python3.99/site-packages")
    for path, body in GERMAN.items():
        (packages / "worker_client" / path).parent.mkdir(parents=True)
        (packages / "worker_client" / path).write_bytes(body)


@POSIX
def test_the_filter_speaks_the_languages_of_the_installed_package(
    tmp_path: Path, home: Path, installation: Installation
) -> None:
    make_fake_gimp(tmp_path / "bin", "gimp-console-3.0", "3.0.4")
    install_translations(installation)
    gimp.install(installation, gimp.find_installed(), ignore)
    folder = home / ".config" / "GIMP" / "3.0" / "plug-ins" / "protect-face"
    assert (folder / "worker_client" / "locale" / "de" / "LC_MESSAGES" / "protect-face.mo").read_bytes() == b"Gesicht"
    assert "protect-face: as it should be" in diagnose(installation)[1]


def test_without_translations_the_diagnosis_says_what_to_do_and_finds_no_fault_with_the_plug_in(
    home: Path, installation: Installation
) -> None:
    make_profile(home, "3.0")
    plug_in.write(gimps.find_profiles()[0], worker.make_pointer(installation), GERMAN)
    installation.python.parent.mkdir(parents=True)
    installation.python.touch()
    _, output = diagnose(installation)
    assert "The environment has no translations for the plug-ins; run 'python3 install.py --gimp'." in output
    assert "protect-face: as it should be" in output


# Removing


RUN_FILES = ("worker.json", "worker.lock", "worker.sock", "start.log", "speed.json", ".worker.json.0123abcd.part")
LOG_FILES = ("worker.log", "worker.log.1", "worker.log.2")


def test_uninstall_leaves_nothing(home: Path, installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(home.rglob("*"))
    profiles = [make_profile(home, version) for version in ("2.10", "3.0", "3.2")]
    for profile in gimps.find_profiles():
        plug_in.write(profile, worker.make_pointer(installation), GERMAN)
    for folder in (installation.venv, installation.models):
        folders.claim(folder)
    for folder, names in ((folders.data_home() / "run", RUN_FILES), (folders.log_home(), LOG_FILES)):
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).touch()
    assert main.main(["--uninstall"]) == 0
    assert all(list((folder / "plug-ins").iterdir()) == [] for folder in profiles)
    for empty in ("GIMP", "protect-face"):
        assert not [path for path in home.rglob("*") if path.is_file() and empty in path.parts]
    assert not folders.data_home().exists() and not folders.log_home().exists() and before == []


def test_uninstall_leaves_files_of_the_users_where_c2p_home_puts_the_workers(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("C2P_HOME", str(home))
    for folder, name_of_ours in ((home / "run", "worker.json"), (home / "log", "worker.log")):
        (folder / "theirs").mkdir(parents=True)
        for name in (name_of_ours, "flight.log", "theirs/diary.txt"):
            (folder / name).touch()
    assert main.main(["--uninstall"]) == 0
    output = capsys.readouterr().out
    for folder in (home / "run", home / "log"):
        assert sorted(path.name for path in folder.rglob("*")) == ["diary.txt", "flight.log", "theirs"]
        assert f"'{folder}' holds other files and stays." in output


def test_uninstall_removes_the_settings_that_gimp_saved_for_the_dialogs(home: Path) -> None:
    saved = make_profile(home, "3.0") / "plug-in-settings"
    saved.mkdir()
    for name in ("GimpProcedureConfig-plug-in-protect-face.last", "GimpProcedureConfig-plug-in-other.last"):
        (saved / name).touch()
    assert main.main(["--uninstall"]) == 0
    assert [path.name for path in saved.iterdir()] == ["GimpProcedureConfig-plug-in-other.last"]


FACE = hashlib.sha256(b"a face").hexdigest()


def test_uninstall_removes_the_plug_ins_error_log(home: Path) -> None:
    log = make_profile(home, "2.10") / crash_report.LOG
    log.touch()
    assert main.main(["--uninstall"]) == 0
    assert not log.exists()


def test_uninstall_removes_inverted_faces_and_their_folder(home: Path) -> None:
    folder = folders.find_inversion_cache()
    InversionCache(folder).put(FACE, {"codes": torch.zeros(1)})
    (folder / f"{FACE}.{8 * '1'}.part").touch()
    assert main.main(["--uninstall"]) == 0
    assert not folder.parent.exists()


def test_uninstall_removes_the_systems_that_the_tests_built(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C2P_CACHE", str(home / "faces"))
    folder = folders.cache_home()
    (folder / "gimp3-root-0123456789ab" / "usr").mkdir(parents=True)
    for name in ("gimp3-root-0123456789ab.log", "gimp210-root.lock", "gimp-notes.txt"):
        (folder / name).touch()
    assert main.main(["--uninstall"]) == 0
    assert [path.name for path in folder.iterdir()] == ["gimp-notes.txt"]
    (folder / "gimp-notes.txt").unlink()
    assert main.main(["--uninstall"]) == 0
    assert not folder.exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="systems are built on Linux only")
def test_uninstall_keeps_a_system_in_which_something_is_mounted(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folders.cache_home() / "gimp3-root-0123456789ab"
    (folder / "host" / "home").mkdir(parents=True)
    read = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda path, *a, **k: f"/dev/x {folder}/host ext4" if str(path) == "/proc/self/mounts" else read(path, *a, **k),
    )
    assert main.main(["--uninstall"]) == 5
    assert (folder / "host" / "home").exists()
    assert installer_sentence("removal-mounted", folder=folder).search(capsys.readouterr().err)


def test_uninstall_leaves_other_files_in_a_cache_folder_that_the_user_chose(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C2P_CACHE", str(home))
    for name in (f"{FACE}.safetensors", "model.safetensors", "photo.png.part"):
        (home / name).touch()
    assert main.main(["--uninstall"]) == 0
    assert {path.name for path in home.iterdir()} == {"model.safetensors", "photo.png.part"}


@POSIX
@pytest.mark.parametrize(("parasites", "started"), [("protect-face-recent", True), ("other", False)])
def test_only_a_gimp_that_keeps_prompts_is_asked_to_drop_them(
    tmp_path: Path, home: Path, parasites: str, started: bool
) -> None:
    make_fake_gimp(tmp_path / "bin", "gimp-console-3.0", "3.0.4")
    (make_profile(home, "3.0") / "parasiterc").write_text(f'(parasite "{parasites}" 1 0 "")')
    main.main(["--uninstall"])
    assert (home / "started").exists() == started


@POSIX
def test_prompts_that_a_gimp_did_not_drop_are_not_reported_as_removed(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_fake_gimp(tmp_path / "bin", "gimp-console-3.2", "3.2.0", knows=False, python=False)
    files = [make_profile(home, version) / "parasiterc" for version in ("3.0", "3.2")]
    for path in files:
        path.write_text('(parasite "protect-face-recent" 1 0 "")')
    assert main.main(["--uninstall"]) == 5
    output = capsys.readouterr()
    assert "Removed the recent prompts" not in output.out
    assert all(installer_sentence("prompts-kept", path=path).search(output.err) for path in files)


def test_an_installation_elsewhere_is_named_with_the_command_that_removes_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_profile(home, "3.0")
    monkeypatch.setattr(main, "set_up", lambda installation, **options: folders.claim(installation.venv))
    options = ["--venv", str(home / "my venv"), "--models", str(home / "models")]
    monkeypatch.setenv("C2P_HOME", str(home / "all"))
    main.main(["--gimp", *options])
    command = (
        f'python3 install.py --uninstall --venv "{home / "my venv"}" --models "{home / "models"}"'
        f" with C2P_HOME set to '{home / 'all'}'"
    )
    assert f"To undo all of it: {command}\n" in capsys.readouterr().out
    monkeypatch.delenv("C2P_HOME")
    assert main.main(["--uninstall"]) == 0
    assert f"to remove it too: {command}\n" in capsys.readouterr().out
    monkeypatch.setenv("C2P_HOME", str(home / "all"))
    assert main.main(["--uninstall", *options]) == 0
    assert "to remove it too" not in capsys.readouterr().out and not (home / "my venv").exists()


@POSIX
def test_uninstall_ends_a_running_worker(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "c2p_core.worker", "--run", str(folders.data_home() / "run")], env=environment()
    )
    try:
        until = time.monotonic() + 60
        while not (folders.data_home() / "run" / "worker.json").exists() and time.monotonic() < until:
            time.sleep(0.1)
        assert diagnose(installation)[1].count("running: true") == 1
        assert main.main(["--uninstall"]) == 0
        assert process.wait(20) == 0
    finally:
        process.kill()
    assert "Ended the worker." in capsys.readouterr().out
    assert not folders.data_home().exists() and not folders.log_home().exists()


def test_uninstall_continues_after_a_folder_that_is_not_ours(
    home: Path, installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    (make_profile(home, "2.10") / "plug-ins" / "protect-face-gimp2" / "mine").mkdir(parents=True)
    make_profile(home, "3.0")
    plug_in.write(
        next(p for p in gimps.find_profiles() if p.generation == 3), worker.make_pointer(installation), GERMAN
    )
    assert main.main(["--uninstall"]) == 2
    assert not (home / ".config" / "GIMP" / "3.0" / "plug-ins" / "protect-face").exists()
    assert installer_sentence("removal-not-ours").search(capsys.readouterr().err)


@POSIX
def test_uninstall_continues_after_a_folder_that_it_may_not_read(
    home: Path, installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_profile(home, "3.0")
    folders.claim(installation.venv)
    lock(home / ".config", monkeypatch)
    assert main.main(["--uninstall"]) == 5
    assert installer_sentence("removal-not-permitted", reason="Permission denied").search(capsys.readouterr().err)
    assert not installation.venv.exists()


# The real plug-ins


@pytest.mark.parametrize(("generation", "name"), plug_in.NAMES.items())
def test_the_real_plug_in_is_complete(generation: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plug_in, "SOURCE", ROOT / "plugin")
    contents = plug_in.collect_contents(generation, GERMAN)
    assert f"{name}.py" in contents and "worker_client/client.py" in contents
    assert [contents[path] for path in contents if path.endswith(".mo")] == [b"Gesicht"]
    assert not [path for path in contents if path.endswith((".po", ".pyc"))]


def test_the_installer_with_gimp_needs_the_standard_library_only() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); from installer import worker; worker.import_client();"
    code += " print(*sys.modules)"
    run = subprocess.run([sys.executable, "-I", "-S", "-c", code, str(ROOT)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    foreign = {name.partition(".")[0] for name in run.stdout.split()} - set(sys.stdlib_module_names)
    assert {name for name in foreign if not name.startswith("_")} == {"installer", "worker_client"}
