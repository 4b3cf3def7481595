"""What several tests of priors share."""

from __future__ import annotations

import pytest
import torch

from c2p_core.models.store import ModelStore
from c2p_core.priors.complexion import load_basis
from c2p_core.priors.makeup import MakeupPrior


@pytest.fixture(scope="module")
def prior(store: ModelStore) -> MakeupPrior:
    return MakeupPrior(load_basis(store.obtain("complexion")), torch.device("cpu"))
