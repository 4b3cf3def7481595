"""A folder with Debian 13 and GIMP 3 in it, for tests on systems that have no GIMP 3.

It is built once (80 s) and kept in the user's cache folder. Programs run in it by ``chroot`` in a mount namespace of
their own, so that no mount is ever left behind.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

# An existing root folder, for those who have one.
ROOT_VARIABLE = "C2P_TEST_GIMP_ROOT"

_SUITE = "trixie"
_PACKAGES = (
    "gimp gir1.2-gimp-3.0 python3-gi gir1.2-gtk-3.0 gimp-data "
    "xvfb xauth openbox wmctrl xdotool imagemagick dbus-daemon fonts-dejavu-core"
)
_READY = "protect-face-ready"
_PROGRAMS = ("debootstrap", "chroot", "unshare", "mount")


class NoRoot(Exception):
    """Why there can be no root folder here."""


def gimp_root() -> Path:
    """The root folder, built when it is not there.

    Raises:
        NoRoot: it can't be built here.
    """
    given = os.environ.get(ROOT_VARIABLE)
    if given:
        return Path(given)
    if os.geteuid() != 0:
        raise NoRoot("building a GIMP 3 root needs the rights of root")
    if "debootstrap" in _missing():
        subprocess.run(["apt-get", "install", "-y", "-qq", "debootstrap"], check=False, capture_output=True)
    if missing := _missing():
        raise NoRoot(f"there is no {', '.join(missing)} here")
    if _run("unshare", "--mount", "true").returncode:
        raise NoRoot("this system lets nobody mount anything")
    recipe = hashlib.sha256(f"{_SUITE} {_PACKAGES}".encode()).hexdigest()[:12]
    cache = platformdirs.user_cache_path("protect-face", ensure_exists=True)
    root = cache / f"gimp3-root-{recipe}"
    with _locked(cache / "gimp3-root.lock"):
        if not (root / _READY).exists():
            for stale in cache.glob("gimp3-root-*/"):
                shutil.rmtree(stale)
            _build(root)
    return root


def inside(root: Path, share: Path) -> list[str]:
    """The beginning of a command that runs in the root folder.

    Args:
        root: the root folder.
        share: a folder that is to be seen under its own name on both sides. The outer system is at /host.
    """
    mounts = [
        f"mount --bind /proc '{root}/proc'",
        f"mount --rbind /dev '{root}/dev'",
        f"mkdir -p '{root}/host' '{root}{share}'",
        f"mount --bind '{share}' '{root}{share}'",
        f"mount --rbind / '{root}/host'",
        f"exec chroot '{root}' \"$@\"",
    ]
    return ["unshare", "--mount", "--propagation", "private", "bash", "-ec", "; ".join(mounts), "inside"]


def _build(root: Path) -> None:
    log = root.with_suffix(".log")
    install = (
        "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "
        + _PACKAGES
    )
    mounted = "; ".join(
        [
            "export DEBIAN_FRONTEND=noninteractive",
            f"mount --bind /proc '{root}/proc'",
            f"mount --rbind /dev '{root}/dev'",
            f"chroot '{root}' bash -c '{install}'",
        ]
    )
    steps = [
        ["debootstrap", "--variant=minbase", "--include=ca-certificates", _SUITE, str(root)],
        ["cp", "--dereference", "/etc/resolv.conf", f"{root}/etc/resolv.conf"],
        ["cp", "--dereference", "/etc/ssl/certs/ca-certificates.crt", f"{root}/etc/ssl/certs/ca-certificates.crt"],
        ["unshare", "--mount", "--propagation", "private", "bash", "-ec", mounted],
    ]
    with log.open("w") as output:
        for step in steps:
            if subprocess.run(step, stdout=output, stderr=subprocess.STDOUT, check=False).returncode:
                raise NoRoot(f"'{' '.join(step[:2])}' failed; its words are in {log}")
    (root / _READY).touch()


def _missing() -> list[str]:
    return [name for name in _PROGRAMS if shutil.which(name) is None]


def _run(*command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, capture_output=True, check=False)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; others wait."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
