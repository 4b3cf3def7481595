"""A home of its own for tests of the installer, so that none touches this user's GIMP, worker or models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from installer import gimps

_VARIABLES = (
    *(f"XDG_{name}_HOME" for name in ("CONFIG", "DATA", "STATE", "CACHE")),
    "APPDATA",
    "LOCALAPPDATA",
    "C2P_HOME",
    "C2P_MODELS",
    "C2P_CACHE",
    "C2P_WORKER_POINTER",
    "C2P_WORKER_PYTHON",
    "GIMP2_DIRECTORY",
    "GIMP3_DIRECTORY",
)


def move_into(home: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes ``home`` the home folder and ``programs`` the only place in which a GIMP is looked for."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(programs))
    for name in ("FLATPAK_SYSTEM", "SNAP_PROGRAMS", "MAC_PROGRAMS"):
        monkeypatch.setattr(gimps, name, home / "no system" / name)


def lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets nothing in ``folder`` be looked at, as rights would; root, who may run the tests, is stopped by none."""
    look = os.stat

    def refuse(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if not isinstance(path, int) and folder in Path(path).parents:
            raise PermissionError(13, "Permission denied", str(path))
        return look(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
