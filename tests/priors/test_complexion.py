"""Skin can't turn green: the change of density stays within one-sided limits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from c2p_core.errors import ModelUnavailable
from c2p_core.models.store import ModelStore
from c2p_core.priors.complexion import Limits, load_basis, within

LIMITS = Limits(lighter=0.2, darker=0.3, paler=0.05, tanner=0.12, blanched=0.04, flushed=0.1)


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3))
def test_no_channel_leaves_what_light_melanin_and_blood_can_do(wanted: list[float]) -> None:
    density = within(torch.tensor(wanted)[:, None, None], LIMITS)
    assert float(density.max()) <= 0.3 * 1.2 + 0.12 * 1.35 + 0.1 * 1.3 + 1e-5
    assert float(density.min()) >= -(0.2 * 1.2 + 0.05 * 1.35 + 0.04 * 1.3) - 1e-5


def test_green_is_refused() -> None:
    """Green paint takes red and blue away; skin can hardly do that."""
    density = within(torch.tensor([1.0, -1.0, 1.0])[:, None, None], LIMITS).flatten()
    assert float(density.max() - density.min()) < 0.25


def test_small_changes_pass_as_they_are() -> None:
    wanted = torch.tensor([0.004, 0.005, 0.006])[:, None, None]
    assert torch.allclose(within(wanted, LIMITS), wanted, atol=2e-4)


def test_the_learned_model_is_whole(store: ModelStore) -> None:
    basis = load_basis(store.path("complexion"))
    assert basis.components.shape[1:] == (3, 96, 96)
    assert torch.isfinite(basis.components).all()
    # Sorted by what they explain.
    power = basis.components[:, :, basis.extent > 0].square().mean((1, 2))
    assert float(power[0]) > 10 * float(power[-1])


def test_another_file_is_refused_by_name(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "complexion.safetensors"
    save_file({"mesh": torch.zeros(468, 2)}, path)
    with pytest.raises(ModelUnavailable, match="components"):
        load_basis(path)
