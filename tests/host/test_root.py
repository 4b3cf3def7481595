"""Root folders are deleted with care: what is mounted in one belongs to the system."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.host

ATTEMPT = """
mkdir -p root/outer system && touch system/precious root/ours
mount --bind system root/outer
"$PYTHON" -c 'from pathlib import Path; from tests.host import root; root.delete_tree(Path("root").resolve())'
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs the rights of root")
def test_a_folder_in_which_something_is_mounted_is_left_alone(tmp_path: Path) -> None:
    variables = {"PYTHON": sys.executable, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = ["unshare", "--mount", "--propagation", "private", "bash", "-ec", ATTEMPT]
    ran = subprocess.run(command, cwd=tmp_path, env=os.environ | variables, capture_output=True, text=True)
    if ran.stderr.startswith("unshare:"):
        pytest.skip("this system lets nobody mount anything")
    assert f"something is mounted at {tmp_path / 'root' / 'outer'}" in ran.stderr
    assert (tmp_path / "system" / "precious").exists() and (tmp_path / "root" / "ours").exists()
