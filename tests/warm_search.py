"""Imports what a search uses, much of which is imported late; for processes that are forked, see ``template_process``.

Loading the models once does that. It starts no thread as long as torch may use one only.
"""

from __future__ import annotations

import torch

import c2p_core.batch.local
import c2p_core.batch.processes
import c2p_core.batch.report
import c2p_core.cli  # noqa: F401
from c2p_core.models.loaded import WarmModels, warm_up
from c2p_core.models.store import ModelStore

torch.set_num_threads(1)
warm_up(ModelStore(), "cpu", WarmModels())
