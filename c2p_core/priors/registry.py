"""The generative priors by name, each with its module, which has ``load(Resources) -> Prior`` (``priors.prior``).

Imports nothing, so that whoever only wants to know the names does not wait for torch.
"""

from __future__ import annotations

MODULES: dict[str, str] = {
    "makeup": "c2p_core.priors.makeup",
    "stylegan2": "c2p_core.priors.wplus",
}
"""The first is the default."""
