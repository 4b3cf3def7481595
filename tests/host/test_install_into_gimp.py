"""The installer and a real GIMP 3: from a home that GIMP never saw to the filter and back."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from installer import doctor, folders, gimp, gimps, main
from installer.folders import Installation
from tests.host.gimp import Gimp
from tests.own_home import move_into

pytestmark = pytest.mark.host


@pytest.fixture
def home(gimp: Gimp, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new home, in which the real GIMP is the only one on the path."""
    folder = gimp.share / "home"
    folder.mkdir()
    (folder / "bin").mkdir()
    variables = {"HOME": str(folder), "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    output = [*gimp.prefix, "env", "-i", *(f"{name}={value}" for name, value in variables.items()), "gimp-console-3.0"]
    console = folder / "bin" / "gimp-console-3.0"
    console.write_text(f'#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\nexec {shlex.join(output)} "$@"\n')
    console.chmod(0o755)
    # What is uninstalled at the end must not be the models and faces of whoever runs the tests.
    move_into(folder, folder / "bin", monkeypatch)
    return folder


def test_a_gimp_that_never_ran_gets_the_filter_and_loses_it_again(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = home / ".config" / "GIMP" / "3.0"
    # The tests' own environment stands for the one that install.py makes.
    where = Installation(Path(sys.prefix), folders.find_installation(None, None).models)
    outcomes = gimp.install(where, gimp.find_installed(), print)
    assert [outcome.trouble for outcome in outcomes] == ["", ""]
    # GIMP made its folder itself, with everything that belongs there.
    assert (profile / "gimprc").exists() and (profile / "plug-ins" / "protect-face" / "protect-face.py").exists()

    (profile / "plug-ins" / "protect-face" / "protect-face.py").chmod(0o644)
    lines: list[str] = []
    assert doctor.diagnose(where, lines.append) == 1
    assert any("does NOT see the filter" in line for line in lines)
    assert any("protect-face.py is not executable" in line for line in lines)

    assert [outcome.trouble for outcome in gimp.install(where, gimp.find_installed(), print)] == ["", ""]

    (program,) = gimps.find_programs()
    keep = f"Gimp.attach_parasite(Gimp.Parasite.new({gimp.RECENT!r}, Gimp.PARASITE_PERSISTENT, b'[]'))"
    program.run("--batch-interpreter=python-fu-eval", "-b", keep, "--quit")
    assert gimp.RECENT in (profile / "parasiterc").read_text()
    assert main.main(["--uninstall"]) == 0
    assert gimp.RECENT not in (profile / "parasiterc").read_text()
    assert gimp.check_registration(program) == "missing"
    assert list((profile / "plug-ins").iterdir()) == []
    assert not [path for path in home.rglob("*") if "protect-face" in path.name]
