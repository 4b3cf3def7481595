"""What ``import c2p_core`` offers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_protect_and_check_stay_functions_after_their_first_use() -> None:
    # The package also has a module called protect, which Python would put in the function's place.
    code = "import c2p_core; c2p_core.protect; import c2p_core.protect; assert callable(c2p_core.protect)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_the_types_come_without_torch() -> None:
    code = "import sys; from c2p_core import ProtectRequest; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
