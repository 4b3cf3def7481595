"""Folders with a whole Debian and a GIMP in them, for tests on systems that have no such GIMP.

Each is built once and kept in the user's cache folder. Building and running happen by ``chroot`` in mount namespaces of
their own: whatever kills them, no mount is left behind.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import psutil

_READY = "protect-face-ready"
_PROGRAMS = ("debootstrap", "chroot", "unshare", "mount", "mountpoint")


class NoRoot(Exception):
    """Why there can be no root folder here."""


@dataclass(frozen=True)
class Recipe:
    """How a root folder is made.

    Attributes:
        name: beginning of its folder's name.
        suite: of Debian.
        script: shell, run inside of the bare Debian.
        identity: what the folder is made of; a change makes a new one.
        variable: environment variable with the path of an existing one, for those who have it.
        minutes: it takes to build when that is only done where ``variable`` is "build"; None to build it anywhere.
        sources: shell, run on apt's list of sources (``$sources``) before ``script``.
    """

    name: str
    suite: str
    script: str
    identity: str
    variable: str
    minutes: int | None = None
    sources: str = ""


def _make_gimp3_recipe() -> Recipe:
    """The current GIMP, with what its window needs; built in 80 s."""
    suite = "trixie"
    packages = (
        "gimp gir1.2-gimp-3.0 python3-gi gir1.2-gtk-3.0 gimp-data "
        "xvfb xauth openbox wmctrl xdotool imagemagick dbus-daemon fonts-dejavu-core"
    )
    script = (
        "export DEBIAN_FRONTEND=noninteractive\n"
        f"apt-get update -qq && apt-get install -y -qq --no-install-recommends {packages}"
    )
    return Recipe("gimp3-root", suite, script, f"{suite} {packages}", "C2P_TEST_GIMP_ROOT")


def _make_gimp210_recipe() -> Recipe:
    """GIMP 2.10 with real Python-Fu, which no current system has."""
    script = Path(__file__).with_name("gimp210.sh").read_text(encoding="utf-8")
    # Debian 11 has the libraries; its source of GIMP is no longer served, Debian 12's is.
    suite, source_suite = "bullseye", "bookworm"
    sources = f"sed -i -n 'p; s/^deb \\(.*\\) {suite} main.*/deb-src \\1 {source_suite} main/p' \"$sources\""
    return Recipe("gimp210-root", suite, script, script, "C2P_TEST_GIMP210", 4, sources)


GIMP3 = _make_gimp3_recipe()
GIMP210 = _make_gimp210_recipe()


def find_root(recipe: Recipe) -> Path:
    """The recipe's root folder, built when it is not there.

    Raises:
        NoRoot: there is none, and it can't be built here or nobody asked for it.
    """
    setting = os.environ.get(recipe.variable, "")
    if setting not in ("", "build"):
        return Path(setting)
    if os.geteuid() != 0:
        raise NoRoot("a root folder needs the rights of root")
    fingerprint = hashlib.sha256(recipe.identity.encode()).hexdigest()[:12]
    cache = platformdirs.user_cache_path("protect-face", ensure_exists=True).resolve()
    root = cache / f"{recipe.name}-{fingerprint}"
    with _locked(cache / f"{recipe.name}.lock"):
        if not (root / _READY).exists():
            if recipe.minutes and setting != "build":
                raise NoRoot(f"set {recipe.variable}=build to have it built ({recipe.minutes} minutes, once)")
            _check_system()
            for stale in cache.glob(f"{recipe.name}-*/"):
                delete_tree(stale)
            _build(recipe, root)
    return root


def make_root_command(root: Path, share: Path) -> list[str]:
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
    return _make_namespace_command("; ".join(mounts))


def make_joining_command(root: Path, process: int) -> list[str]:
    """The same, with the mounts of a process that was started so and still runs: sooner, by those of a new one."""
    return ["nsenter", f"--target={process}", "--mount", "chroot", str(root)]


def _make_namespace_command(commands: str) -> list[str]:
    """The beginning of a command: shell with "$@", whose mounts only it sees, and which go with it."""
    return ["unshare", "--mount", "--propagation", "private", "bash", "-ec", commands, "inside"]


def _build(recipe: Recipe, root: Path) -> None:
    log = root.with_suffix(".log")
    steps = [
        f"debootstrap --variant=minbase --include=ca-certificates {recipe.suite} '{root}'",
        f"cp --dereference /etc/resolv.conf '{root}/etc/resolv.conf'",
        f"cp --dereference /etc/ssl/certs/ca-certificates.crt '{root}/etc/ssl/certs/ca-certificates.crt'",
        f"sources='{root}/etc/apt/sources.list'",
        recipe.sources,
        f"mountpoint -q '{root}/proc' || mount --bind /proc '{root}/proc'",
        f"mount --rbind /dev '{root}/dev'",
        f"chroot '{root}' bash -c \"$1\"",
    ]
    command = [*_make_namespace_command("\n".join(steps)), recipe.script]
    with log.open("w") as output:
        if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False).returncode:
            raise NoRoot(f"building it failed; its words are in {log}")
    (root / _READY).touch()


def delete_tree(folder: Path) -> None:
    """Deletes a root folder, unless something is mounted in it: that would be deleted too, be it all of the system."""
    mounted = [point.mountpoint for point in psutil.disk_partitions(all=True)]
    if below := [point for point in mounted if Path(point).is_relative_to(folder)]:
        raise NoRoot(f"something is mounted at {below[0]}; unmount it")
    shutil.rmtree(folder)


def _check_system() -> None:
    """Raises NoRoot when the system lacks what building needs."""
    if shutil.which("debootstrap") is None:
        subprocess.run(["apt-get", "install", "-y", "-qq", "debootstrap"], check=False, capture_output=True)
    if missing := [name for name in _PROGRAMS if shutil.which(name) is None]:
        raise NoRoot(f"there is no {', '.join(missing)} here")
    if subprocess.run(_make_namespace_command("true"), check=False, capture_output=True).returncode:
        raise NoRoot("this system lets nobody mount anything")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; others wait."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Builds the root folders that can be built here, so that no test has to wait for them."""
    installed = shutil.which("gimp-console-3.0") is not None
    for recipe in (GIMP210,) if installed else (GIMP3, GIMP210):
        with suppress(NoRoot):
            find_root(recipe)


if __name__ == "__main__":
    main()
