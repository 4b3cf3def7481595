"""Default folders of the program's data and logs."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

HOME_VARIABLE = "C2P_HOME"
_APP = "protect-face"


def data_folder() -> Path:
    """``C2P_HOME``, else the user's data folder."""
    home = os.environ.get(HOME_VARIABLE)
    return Path(home).absolute() if home else platformdirs.user_data_path(_APP)


def log_folder() -> Path:
    """``$C2P_HOME/log``, else the platform's folder for logs."""
    home = os.environ.get(HOME_VARIABLE)
    return Path(home).absolute() / "log" if home else platformdirs.user_log_path(_APP)
