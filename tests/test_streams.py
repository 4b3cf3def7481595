"""What surrounds the command, streams, folders and limits, neither stops its work nor ends it without a sentence."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from c2p_core.io import photo_files
from tests.checkout import environment
from tests.error_assertions import sentence

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")

UNKNOWN = sentence("model-unknown")
NOTHING = re.compile(r"\A\Z")


def c2p(
    arguments: str, folder: Path, shell_template: str = "{}", stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """Runs ``c2p`` in a folder; ``shell_template`` is a shell command in which {} stands for it."""
    command = f"{sys.executable} -m c2p_core {arguments}"
    # One thread: the memory that others reserve would count against the limit.
    variables = environment(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    shell = ["sh", "-c", shell_template.replace("{}", command)]
    return subprocess.run(
        shell, cwd=folder, env=variables, text=True, timeout=400, stdout=stdout, stderr=subprocess.PIPE
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 48)).save(tmp_path / "black.png")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "shell_template", "code", "expected"),
    [
        ("models list", "{} >&-", 0, NOTHING),
        ("models list", "{} <&-", 0, NOTHING),
        ("models list", "{} >/dev/full", 5, sentence("output-lost")),
        ("--version", "{} >/dev/full", 5, sentence("output-lost")),
        ("models verify nobody", "{} >/dev/full", 2, UNKNOWN),
        ("models verify nobody", "{} >&-", 2, UNKNOWN),
        ("models verify nobody", "{} <&- >&-", 2, UNKNOWN),
        ("models verify nobody", "{} 2>/dev/full", 2, NOTHING),
        ("models verify nobody", "{} 2>&-", 2, NOTHING),
        ("models verify nobody", "{} <&- >&- 2>&-", 2, NOTHING),
        ("models list", "mkdir gone; cd gone; rmdir ../gone; {}", 2, sentence("current-folder-gone")),
        ("protect {folder}/black.png", "mkdir gone; cd gone; rmdir ../gone; {}", 2, sentence("current-folder-gone")),
        ("--help", "ulimit -v 40000; {}", 1, sentence("memory-limited", limit=40, needed=200)),
        ("models list", "ulimit -v 150000; {}", 1, sentence("memory-limited", limit=153, needed=200)),
        ("models list", "ulimit -d 60000; {}", 1, sentence("memory-limited", limit=61, needed=115)),
        ("models list", "ulimit -v 200000; {}", 0, NOTHING),
        ("faces black.png", "ulimit -v 400000; {}", 1, sentence("memory-limited", limit=409, needed=1150)),
        ("protect black.png", "ulimit -v 1200000; {}", 1, sentence("memory-limited", needed=1600)),
        ("check black.png black.png", "ulimit -d 400000; {}", 1, sentence("memory-limited", needed=455)),
        ("models list", "ulimit -n 5; {}", 1, sentence("unexpected-error")),
    ],
)
def test_closed_full_missing_and_forbidden_targets_give_an_exit_code_and_one_sentence(
    folder: Path, arguments: str, shell_template: str, code: int, expected: re.Pattern[str]
) -> None:
    process = c2p(arguments.replace("{folder}", str(folder)), folder, shell_template)
    assert process.returncode == code
    assert expected.search(process.stderr) and process.stderr.count("\n") == (expected is not NOTHING), process.stderr


@pytest.mark.parametrize(("arguments", "code"), [("models list", 0), ("models verify nobody", 2), ("--help", 0)])
def test_a_closed_reader_does_not_change_the_exit_code(folder: Path, arguments: str, code: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = c2p(arguments, folder, stdout=writer)
    os.close(writer)
    assert process.returncode == code
    assert (UNKNOWN if code else NOTHING).search(process.stderr)


def test_log_messages_of_libraries_are_not_printed() -> None:
    program = (
        "import logging, sys; from c2p_core.streams import standard_streams\n"
        "with standard_streams(silence=True):\n"
        " logging.warning('the root says'); logging.getLogger('pyvips').warning('libvips says')\n"
        " print('ours', file=sys.stderr)"
    )
    process = subprocess.run(
        [sys.executable, "-c", program], env=environment(), text=True, capture_output=True, timeout=60
    )
    assert (process.returncode, process.stderr) == (0, "ours\n")


@pytest.mark.skipif(sys.platform != "linux", reason="sets the size of a pipe")
def test_a_slow_non_blocking_pipe_gets_everything(folder: Path) -> None:
    import fcntl

    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    with ThreadPoolExecutor() as pool, os.fdopen(reader) as stream:
        printed = pool.submit(stream.read)
        process = c2p("models list --json", folder, stdout=writer)
        os.close(writer)
        assert (process.returncode, process.stderr) == (0, "")
        assert len(printed.result()) > 4096 and json.loads(printed.result())


@pytest.mark.slow
def test_a_photo_whose_summary_cannot_be_printed_is_protected_all_the_same(folder: Path) -> None:
    Image.fromarray(data.astronaut()[:300, 80:380]).save(folder / "face.png")
    process = c2p("protect face.png --steps 1 --recognisers faceres --report r.json", folder, "{} >/dev/full")
    assert (
        process.returncode == 0 and sentence("output-lost").search(process.stderr) and process.stderr.count("\n") == 1
    )
    assert photo_files.read(folder / "face.protected.png").pixels.shape == (300, 300, 3)
    assert len(json.loads((folder / "r.json").read_text())["photos"]) == 1
