from __future__ import annotations

import copy
from pathlib import Path

import dlib
import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from c2p_core.errors import ModelUnavailable
from c2p_core.recognition.dlib_file import read_dlib_network
from c2p_core.recognition.dlib_resnet import DlibResNet, load_dlib_resnet


@pytest.fixture(scope="module")
def network(dlib_weights: Path) -> DlibResNet:
    return load_dlib_resnet(dlib_weights)


def chips() -> list[np.ndarray]:
    """Crops around the face of scikit-image's astronaut, and one without a face."""
    photo = skimage.data.astronaut()
    corners = [(30, 150), (40, 160), (20, 140), (35, 148), (45, 155), (300, 60)]
    return [np.ascontiguousarray(photo[y : y + 150, x : x + 150]) for y, x in corners]


def as_tensor(chip: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(chip).permute(2, 0, 1)[None].float() / 255


def test_descriptors_are_those_of_dlib(network: DlibResNet, dlib_weights: Path) -> None:
    reference = dlib.face_recognition_model_v1(str(dlib_weights))
    for chip in chips():
        expected = np.array(reference.compute_face_descriptor(chip))
        np.testing.assert_allclose(network(as_tensor(chip))[0].numpy(), expected, atol=1e-3)


def test_a_batch_gives_what_single_chips_give(network: DlibResNet) -> None:
    batch = torch.cat([as_tensor(chip) for chip in chips()[:2]])
    singly = torch.cat([network(chip[None]) for chip in batch])
    torch.testing.assert_close(network(batch), singly, atol=1e-5, rtol=0)


def test_gradients_reach_the_pixels(network: DlibResNet) -> None:
    chip = as_tensor(chips()[0]).double().requires_grad_()
    exact = load_exact(network)
    value = exact(chip)[0] @ torch.linspace(-1, 1, 128, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(value, chip)
    direction = torch.randn(chip.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        ends = [exact(chip + sign * 1e-8 * direction)[0] @ torch.linspace(-1, 1, 128).double() for sign in (1, -1)]
    assert (gradient * direction).sum().item() == pytest.approx(((ends[0] - ends[1]) / 2e-8).item(), rel=1e-3)


def load_exact(network: DlibResNet) -> DlibResNet:
    """A float64 copy, in which finite differences mean something."""
    return copy.deepcopy(network).double()


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.001, 0.5, 0.999999])
def test_a_truncated_file_is_refused(dlib_weights: Path, tmp_path: Path, share: float) -> None:
    data = dlib_weights.read_bytes()
    (tmp_path / "cut.dat").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelUnavailable, match=r"cut\.dat"):
        load_dlib_resnet(tmp_path / "cut.dat")


def test_another_network_of_dlib_is_refused(dlib_weights: Path) -> None:
    with pytest.raises(ModelUnavailable):
        load_dlib_resnet(dlib_weights.with_name("mmod_human_face_detector.dat"))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable):
        load_dlib_resnet(tmp_path / "none.dat")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 330), value=st.integers(0, 255))
def test_a_damaged_header_never_hangs_or_crashes(dlib_weights: Path, tmp_path: Path, at: int, value: int) -> None:
    with dlib_weights.open("rb") as file:
        data = bytearray(file.read(40_000))
    data[at] = value
    (tmp_path / "bad.dat").write_bytes(data)
    with pytest.raises(ModelUnavailable):
        read_dlib_network(tmp_path / "bad.dat")
