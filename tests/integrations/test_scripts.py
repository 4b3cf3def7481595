"""What digiKam, file managers and Lightroom call, called as they do it."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer import integrations
from installer.folders import Installation
from tests.checkout import ROOT
from tests.integrations.fake_c2p import DAMAGED, NO_FACE, FakeC2p, make_fake_c2p, parse_call
from tests.own_home import move_into

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="shell scripts")
VALIDATE = shutil.which("desktop-file-validate")
ODD = "it's 100% odd; & (1)"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "my home"
    folder.mkdir()
    path = os.environ["PATH"]
    move_into(folder, tmp_path / "bin", monkeypatch)
    monkeypatch.setenv("PATH", path)
    return folder


@pytest.fixture
def c2p(tmp_path: Path) -> Iterator[FakeC2p]:
    with make_fake_c2p(tmp_path / "it's mine" / "bin") as fake:
        yield fake


def install_script(program: str, c2p: FakeC2p, system: integrations.System | None = None) -> list[Path]:
    """The files that a program gets, put where they belong."""
    matches = {
        integration.name: integration
        for integration in integrations.find(Installation(c2p.folder.parent, Path("/m")), system or _make_linux())
    }
    for file in matches[program].files:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_bytes(file.body)
        file.path.chmod(0o755 if file.executable else 0o644)
    return [file.path for file in matches[program].files]


def _make_linux() -> integrations.System:
    home = Path(os.environ["HOME"])
    for name in ("digikam", "nautilus", "dolphin"):
        (home / ".local" / "share" / name).mkdir(parents=True, exist_ok=True)
    return integrations.System(dict(os.environ), "linux")


# digiKam replaces $INPUT and $OUTPUT by names in double quotes, and gives the line to sh. It has made the file for the
# output, takes it for a success if the file is there afterwards and the code is not 127, and kills sh after a minute.


def make_digikam_command(script: Path, photo: Path, output: Path, options: str = "") -> list[str]:
    line = f"sh {shlex.quote(str(script))} $INPUT $OUTPUT {options}"
    line = line.replace("$INPUT", f'"{photo}"').replace("$OUTPUT", f'"{output}"')
    output.touch()
    return ["/bin/sh", "-c", line]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    folder = tmp_path / "Album 1"
    folder.mkdir()
    (folder / f"{ODD}.jpg").write_text("photo")
    return folder / f"{ODD}.jpg"


@pytest.fixture
def output(photo: Path) -> Path:
    return photo.with_name("BatchTool-AbCdEf-1a2b3c4d.digikamtempfile.jpg")


def test_digikams_script_protects_into_the_file_that_digikam_made(c2p: FakeC2p, photo: Path, output: Path) -> None:
    (script,) = install_script("digiKam", c2p)
    subprocess.run(make_digikam_command(script, photo, output, "--prompt 'red lipstick'"), check=True, timeout=60)
    assert output.read_text() == "protected photo" and photo.read_text() == "photo"
    (call,) = c2p.calls()
    assert (call.models, call.command) == (Path("/m"), "protect")
    result = call.arguments.pop("output")
    assert call.arguments == {"photos": (photo,), "overwrite": True, "prompt": "red lipstick"}
    assert not Path(result).exists() and not list(
        (Path(os.environ["HOME"]) / ".cache" / "protect-face" / "digikam").iterdir()
    )


@pytest.mark.parametrize("name", [NO_FACE, DAMAGED])
def test_digikam_sees_a_failure_and_gets_no_unprotected_photo(
    c2p: FakeC2p, photo: Path, output: Path, name: str
) -> None:
    (script,) = install_script("digiKam", c2p)
    photo = photo.rename(photo.with_name(f"{name}.jpg"))
    process = subprocess.run(make_digikam_command(script, photo, output), capture_output=True, text=True, timeout=60)
    assert process.returncode == 127 and not output.exists()
    assert name in process.stderr


def test_a_search_that_digikam_gave_up_on_goes_on_and_is_fetched_by_the_next_run(
    c2p: FakeC2p, photo: Path, output: Path
) -> None:
    (script,) = install_script("digiKam", c2p)
    c2p.hang()
    first = subprocess.Popen(make_digikam_command(script, photo, output))
    _wait_for(c2p.folder / "hanging")
    first.send_signal(signal.SIGKILL)
    first.wait()
    output.unlink()
    c2p.go_on()
    _wait_for(next((Path(os.environ["HOME"]) / ".cache" / "protect-face" / "digikam").glob("*.log")).with_suffix(""))
    assert not output.exists()
    subprocess.run(make_digikam_command(script, photo, output), check=True, timeout=60)
    assert output.read_text() == "protected photo"
    assert len(c2p.calls()) == 1


def test_searches_for_digikam_take_turns(c2p: FakeC2p, photo: Path, output: Path) -> None:
    (script,) = install_script("digiKam", c2p)
    other = photo.with_name("other.jpg")
    other.write_text("other")
    c2p.hang()
    first = subprocess.Popen(make_digikam_command(script, photo, output))
    _wait_for(c2p.folder / "hanging")
    second = subprocess.Popen(make_digikam_command(script, other, output.with_name("second.jpg")))
    time.sleep(0.5)
    assert len(c2p.calls()) == 1
    c2p.go_on()
    assert (first.wait(60), second.wait(60)) == (0, 0)
    assert output.with_name("second.jpg").read_text() == "protected other"


def test_a_turn_of_a_process_that_is_gone_is_void(c2p: FakeC2p, photo: Path, output: Path) -> None:
    (script,) = install_script("digiKam", c2p)
    folder = Path(os.environ["HOME"]) / ".cache" / "protect-face" / "digikam"
    folder.mkdir(parents=True)
    (folder / "turn").symlink_to("4194305")  # above the highest number of a process
    subprocess.run(make_digikam_command(script, photo, output), check=True, timeout=60)
    assert output.read_text() == "protected photo"


# File managers


@pytest.fixture
def notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What notify-send shows."""
    folder = tmp_path / "notify"
    folder.mkdir()
    (folder / "notify-send").write_text(
        f'#!/bin/sh\nfor last do :; done; echo "$last" >>{shlex.quote(str(folder))}/told\n'
    )
    (folder / "notify-send").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder / "told"


def test_nautilus_protects_chosen_photos_in_one_run_and_folders_beside_themselves(
    c2p: FakeC2p, photo: Path, notices: Path
) -> None:
    (script,) = install_script("Nautilus", c2p)
    assert script == Path(os.environ["HOME"]) / ".local/share/nautilus/scripts/Protect Faces"
    (photo.parent / "-o b.jpg").write_text("dash")
    (photo.parent / "day 2").mkdir()
    (photo.parent / "day 2" / "c.jpg").write_text("c")
    # Nautilus gives names in the folder that it shows.
    subprocess.run([script, photo.name, "day 2", "-o b.jpg"], cwd=photo.parent, check=True, timeout=60)
    assert photo.with_name(f"{ODD}.protected.jpg").read_text() == "protected photo"
    assert photo.with_name("-o b.protected.jpg").read_text() == "protected dash"
    assert (photo.parent / "day 2 protected" / "c.jpg").read_text() == "protected c"
    for_folder, for_photos = c2p.calls()
    folder = photo.parent / "day 2"
    assert (for_folder.command, for_folder.arguments) == (
        "batch",
        {"sources": (str(folder),), "output": f"{folder} protected"},
    )
    assert (for_photos.command, for_photos.arguments) == (
        "protect",
        {"photos": (photo, photo.with_name("-o b.jpg"))},
    )
    assert notices.read_text().splitlines()[-1] == "Done."


def test_a_file_manager_shows_why_a_photo_failed(c2p: FakeC2p, photo: Path, notices: Path) -> None:
    (script,) = install_script("Nautilus", c2p)
    c2p.fail("the photo is damaged.")
    process = subprocess.run([script, photo.name], cwd=photo.parent, timeout=60)
    assert process.returncode == 2
    assert notices.read_text().splitlines()[-1] == "c2p: the photo is damaged."


def test_without_a_chosen_file_nothing_is_run(c2p: FakeC2p, notices: Path) -> None:
    (script,) = install_script("Nautilus", c2p)
    assert subprocess.run([script], timeout=60).returncode == 2
    assert c2p.calls() == [] and "Choose photos" in notices.read_text()


def test_dolphins_entry_runs_the_script_with_whole_paths(c2p: FakeC2p, photo: Path, notices: Path) -> None:
    script, entry = install_script("Dolphin", c2p)
    assert entry == Path(os.environ["HOME"]) / ".local/share/kio/servicemenus/protect-face.desktop"
    assert os.access(entry, os.X_OK)
    action = _read_entry(entry)["Desktop Action protect-faces"]
    # Read as the Desktop Entry Specification says: the escapes of a value, then the quotes of a command line.
    command = shlex.split(action["Exec"].replace("\\\\", "\\"))
    assert command[1:] == ["%F"] and command[0].replace("%%", "%") == str(script)
    subprocess.run([command[0].replace("%%", "%"), photo], check=True, timeout=60)
    assert photo.with_name(f"{ODD}.protected.jpg").exists()


def test_dolphins_entry_is_for_the_photos_that_c2p_reads(c2p: FakeC2p) -> None:
    _, entry = install_script("Dolphin", c2p)
    head = _read_entry(entry)["Desktop Entry"]
    assert (head["Type"], head["X-KDE-ServiceTypes"]) == ("Service", "KonqPopupMenu/Plugin")
    assert head["Actions"].split(";")[:-1] == ["protect-faces"]
    types = {"image/jpeg", "image/png", "image/tiff", "image/webp", "image/avif", "inode/directory"}
    # Dolphin hides the entry where one of the chosen files has another type; where the extra for HEIF is missing, c2p
    # says so.
    types |= {"image/heif", "image/heic"}
    assert set(head["MimeType"].split(";")) - {""} == types


@pytest.mark.skipif(VALIDATE is None, reason="needs desktop-file-validate: apt install desktop-file-utils")
def test_dolphins_entry_is_a_valid_desktop_file(c2p: FakeC2p, tmp_path: Path) -> None:
    _, entry = install_script("Dolphin", c2p)
    # The validator knows the keys of applications only; a service has the same ones, and KDE's.
    text = entry.read_text().replace("Type=Service\n", "Type=Application\nExec=true\n")
    copy = tmp_path / "copy.desktop"
    copy.write_text(text)
    process = subprocess.run([str(VALIDATE), str(copy)], capture_output=True, text=True)
    assert (process.returncode, process.stdout + process.stderr) == (0, "")


def _read_entry(path: Path) -> configparser.ConfigParser:
    entry = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    entry.optionxform = str  # type: ignore[assignment,method-assign]
    entry.read(path, encoding="utf-8")
    return entry


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.02)


# Lightroom


def test_lightrooms_batch_file_quotes_the_program_and_passes_the_photos_on(c2p: FakeC2p, home: Path) -> None:
    (home / "roaming" / "Adobe" / "Lightroom").mkdir(parents=True)
    installation = Installation(Path("C:/100% mine/venv"), Path("C:/my models"))
    system = integrations.System({"APPDATA": str(home / "roaming")}, "win32")
    (integration,) = [match for match in integrations.find(installation, system) if match.name == "Lightroom"]
    (file,) = integration.files
    assert file.path == home / "roaming/Adobe/Lightroom/Export Actions/Protect Faces.cmd"
    lines = file.body.decode().split("\r\n")
    assert lines[2].startswith('set C2P="C:/100%% mine/venv/') and lines[2].endswith(' "--models" "C:/my models"')
    program, _, words = lines[3].partition(" ")
    assert (program, lines[-1]) == ("%C2P%", "")
    call = parse_call(["--models", "/m", *words.replace("%*", "a.jpg -b.jpg").split()])
    assert (call.command, call.arguments) == ("protect", {"photos": (Path("a.jpg"), Path("-b.jpg"))})


def test_lightrooms_droplet_passes_the_photos_on() -> None:
    source = (ROOT / "integrations" / "lightroom" / "protect-face.applescript").read_text()
    (words,) = re.findall(r'do shell script c2p & "(.*)" & paths', source)
    call = parse_call([*words.split(), "a.jpg"])
    assert (call.command, call.arguments) == ("protect", {"photos": (Path("a.jpg"),)})
