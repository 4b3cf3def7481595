"""A Ray cluster of this machine, as `ray start` makes it, and engines for its workers, which import them from here."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil

from c2p_core.batch.engine import Control, Job, Outcome
from c2p_core.batch.layout import Item
from c2p_core.errors import ModelUnavailable
from tests.batch.darken import darken

ROOT = Path(__file__).resolve().parents[2]
# On a busy machine, it takes longer than the 30 s that Ray allows.
_TRIES = 3
_ADDRESS = re.compile(r"--address='([^']+)'")
_START = "import sys; from ray.scripts.scripts import main; sys.exit(main())"


@contextmanager
def start_ray(cores: int) -> Iterator[str]:
    """Start a cluster without graphics cards and with this checkout in its path; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # By which the cluster lets in whoever is started in this block; Ray reads it once in a process.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # The names of sockets may have 107 bytes.
    scratch = tempfile.mkdtemp(prefix="c2p-ray-", dir=None if sys.platform == "win32" else "/tmp")
    arguments = [
        "--head",
        f"--port={port}",
        "--include-dashboard=false",
        "--disable-usage-stats",
        f"--temp-dir={scratch}",
    ]
    process, log = _start([*arguments, f"--num-cpus={cores}"], Path(scratch))
    try:
        yield _ADDRESS.findall(log)[0]
    finally:
        process.terminate()
        process.wait()
    shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def join_cluster(address: str, cores: int, scratch: Path) -> Iterator[psutil.Process]:
    """Add a simulated machine to a cluster; yields its root process."""
    process, _ = _start([f"--address={address}", f"--num-cpus={cores}"], scratch)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def _start(arguments: list[str], scratch: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start a machine of a cluster; returns its process and its output once it is up."""
    paths = [str(ROOT), str(ROOT / "plugin"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-c", _START, "start", "--block", "--num-gpus=0", *arguments]
    for attempt in range(_TRIES):
        with (scratch / f"log-{attempt}").open("w+b") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            while process.poll() is None:
                output = (scratch / f"log-{attempt}").read_text()
                if "--block" in output and (_ADDRESS.search(output) or "--head" not in arguments):
                    return process, output
                time.sleep(0.1)
    raise RuntimeError((scratch / f"log-{_TRIES - 1}").read_text())


def with_process(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
    """Darkens and notes its process; dies of photos named ``deadly``, and once of ``once``."""
    marks = Path(job.options["marks"])
    for outcome in darken(items, job, control):
        name = Path(outcome.item.path).stem
        if name == "deadly" or (name == "once" and not (marks / "died").exists()):
            (marks / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        with (marks / "begun").open("a") as file:
            file.write(f"{os.getpid()} {name}\n")
        time.sleep(0.05)
        outcome.report["process"] = os.getpid()
        yield outcome


def with_priority(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
    """Darkens and notes the priority of a thread that it starts."""
    for outcome in darken(items, job, control):
        with ThreadPoolExecutor(1) as executor:
            outcome.report["nice"] = executor.submit(os.getpriority, os.PRIO_PROCESS, 0).result()
        yield outcome


def without_models(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
    raise ModelUnavailable("model-missing", name="mtcnn", source="x")
    yield
