"""Light on skin stays within one-sided limits and never changes skin's hue by much."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from c2p_core.errors import ModelUnavailable
from c2p_core.models.store import ModelStore
from c2p_core.priors.complexion import Limits, load_basis, skin_density
from tests.error_assertions import raising

LIMITS = Limits(lighter=0.2, darker=0.3)


@given(st.floats(-5, 5))
def test_every_channel_stays_within_the_range_of_light(wanted: float) -> None:
    density = skin_density(torch.tensor([[wanted]]), LIMITS)
    assert float(density.max()) <= 0.3 * 1.1
    assert float(density.min()) >= -0.2 * 1.1


def test_shade_is_warm_and_not_coloured() -> None:
    red, green, blue = skin_density(torch.tensor([[5.0]]), LIMITS).flatten().tolist()
    assert red < green < blue < 1.4 * red


def test_small_changes_are_not_compressed() -> None:
    assert skin_density(torch.tensor([[0.005]]), LIMITS)[1].item() == pytest.approx(0.005, abs=1e-5)


def test_the_learned_model_has_every_part(store: ModelStore) -> None:
    basis = load_basis(store.obtain("complexion"))
    assert basis.components.shape[1:] == (3, 96, 96)
    assert torch.isfinite(basis.components).all()
    # Sorted by what they explain.
    power = basis.components[:, :, basis.extent > 0].square().mean((1, 2))
    assert float(power[0]) > 10 * float(power[-1])


def test_another_file_is_refused_by_name(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "complexion.safetensors"
    save_file({"mesh": torch.zeros(468, 2)}, path)
    with raising(ModelUnavailable, "complexion-incomplete", missing="'components'"):
        load_basis(path)
