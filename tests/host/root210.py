"""A folder with GIMP 2.10 and real Python-Fu in it, which no current system has; as ``root`` makes one of GIMP 3.

Building it takes 3 to 4 minutes, so it is only built where ``C2P_TEST_GIMP210`` asks for it; then it is kept in the
user's cache folder and used from then on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import platformdirs

from tests.host.root import NoRoot, _locked, _missing, _run

# "build", or the path of an existing root folder.
VARIABLE = "C2P_TEST_GIMP210"

_SCRIPT = Path(__file__).with_name("gimp210.sh")
# Debian 11 has the libraries; its source of GIMP is no longer served, Debian 12's is.
_SUITE, _SOURCE_SUITE = "bullseye", "bookworm"
_READY = "protect-face-ready"


def gimp210_root() -> Path:
    """The root folder, built when it is not there and building is asked for.

    Raises:
        NoRoot: there is none, or it can't be built here.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "build"):
        return Path(wanted)
    if os.geteuid() != 0:
        raise NoRoot("using a GIMP 2.10 root needs the rights of root")
    recipe = hashlib.sha256(_SCRIPT.read_bytes()).hexdigest()[:12]
    cache = platformdirs.user_cache_path("protect-face", ensure_exists=True)
    root = cache / f"gimp210-root-{recipe}"
    with _locked(cache / "gimp210-root.lock"):
        if (root / _READY).exists():
            return root
        if wanted != "build":
            raise NoRoot(f"there is no GIMP 2.10 root yet; set {VARIABLE}=build to have one built (3 minutes)")
        if "debootstrap" in _missing():
            subprocess.run(["apt-get", "install", "-y", "-qq", "debootstrap"], check=False, capture_output=True)
        if missing := _missing():
            raise NoRoot(f"there is no {', '.join(missing)} here")
        if _run("unshare", "--mount", "true").returncode:
            raise NoRoot("this system lets nobody mount anything")
        for stale in cache.glob("gimp210-root-*"):
            # Deleting through a mount would delete the outer system.
            if str(stale) in Path("/proc/mounts").read_text():
                raise NoRoot(f"something is mounted in {stale}; unmount it")
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
        _build(root)
    return root


def _build(root: Path) -> None:
    """Builds it in a mount namespace of its own: whatever kills this, no mount is left behind."""
    log = root.with_suffix(".log")
    sources = f"{root}/etc/apt/sources.list"
    steps = [
        f"debootstrap --variant=minbase --include=ca-certificates {_SUITE} '{root}'",
        f"cp --dereference /etc/resolv.conf '{root}/etc/resolv.conf'",
        f"cp --dereference /etc/ssl/certs/ca-certificates.crt '{root}/etc/ssl/certs/ca-certificates.crt'",
        f"sed -i -n 'p; s/^deb \\(.*\\) {_SUITE} main.*/deb-src \\1 {_SOURCE_SUITE} main/p' '{sources}'",
        f"cp '{_SCRIPT}' '{root}/gimp210.sh'",
        f"mountpoint -q '{root}/proc' || mount --bind /proc '{root}/proc'",
        f"mount --rbind /dev '{root}/dev'",
        f"chroot '{root}' bash /gimp210.sh",
    ]
    command = ["unshare", "--mount", "--propagation", "private", "bash", "-ec", "\n".join(steps)]
    with log.open("w") as output:
        if subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode:
            raise NoRoot(f"building it failed; its words are in {log}")
    (root / _READY).touch()
