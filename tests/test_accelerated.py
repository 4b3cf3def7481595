"""Networks as they run on a graphics card: half precision and replayed recordings, each only where it is faithful."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from c2p_core.accelerated import (
    Forward,
    accelerate,
    list_half_precisions,
    move_network,
    put_channels_last,
    replay_often,
    use_half_precision,
)
from c2p_core.models.store import ModelStore
from c2p_core.models.weights import load_weights
from c2p_core.recognition import list_recognisers, load_architecture

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
BOTH = (torch.float16, torch.bfloat16)


def differentiate(forward: Forward, batch: Tensor) -> tuple[Tensor, Tensor]:
    leaf = batch.clone().requires_grad_()
    output = forward(leaf)
    (gradient,) = torch.autograd.grad(output[:, : output.shape[1] // 2].sum(), [leaf])
    return output.detach(), gradient


def cosine_similarity(first: Tensor, second: Tensor) -> float:
    return float(F.cosine_similarity(first.flatten(), second.flatten(), dim=0))


def smooth_picture(size: int) -> Tensor:
    coarse = torch.rand(1, 3, size // 8, size // 8, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 16)).requires_grad_(False)


BATCH = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_on_a_processor_a_network_stays_the_same_function(network: nn.Module) -> None:
    assert accelerate(network, CPU) is network


def test_only_convolution_weights_get_channels_last() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv3d(3, 8, 3), nn.Linear(8, 4))
    network.register_buffer("mask", torch.zeros(2, 3, 4, 5))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    put_channels_last(network)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.is_contiguous() == (value.dim() != 4)
        assert value.dim() != 4 or value.is_contiguous(memory_format=torch.channels_last)


def test_on_mps_nothing_is_computed_in_half_precision() -> None:
    assert list_half_precisions(torch.device("mps")) == ()


@pytest.mark.parametrize(
    ("capability", "precisions"), [((6, 1), ()), ((7, 5), BOTH[:1]), ((8, 0), BOTH), ((9, 0), BOTH)]
)
def test_half_precision_is_chosen_by_the_units_of_the_card(
    capability: tuple[int, int], precisions: tuple[torch.dtype, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert list_half_precisions(CUDA) == precisions


@pytest.mark.parametrize(
    "name",
    [
        # Convolutions over single channels take long in float16 on a processor.
        pytest.param(name, marks=[pytest.mark.slow] if name.startswith("faceres") else [])
        for name in list_recognisers(ModelStore(offline=True))
    ],
)
def test_of_each_recogniser_half_precision_gives_the_descriptor_and_the_direction(name: str, store: ModelStore) -> None:
    entry = store.entry(name)
    architecture = load_architecture(entry)
    exact = load_weights(architecture.make(), store.obtain(name))
    picture = smooth_picture(architecture.template.size)
    fast = differentiate(use_half_precision(exact, CPU, BOTH), picture)
    expected = differentiate(exact, picture)
    assert fast[0].dtype == fast[1].dtype == torch.float32
    assert not torch.equal(fast[0], expected[0])
    assert cosine_similarity(fast[0], expected[0]) > 0.999 and cosine_similarity(fast[1], expected[1]) > 0.9


def test_the_smallest_gradients_survive_half_precision(network: nn.Module) -> None:
    # Without a scale, float16 would make 0 of them.
    def faint(batch: Tensor) -> Tensor:
        return network(batch) * 1e-6

    _, gradient = differentiate(use_half_precision(faint, CPU, BOTH[:1]), BATCH)
    _, expected = differentiate(faint, BATCH)
    assert cosine_similarity(gradient, expected) > 0.99


def test_values_that_overflow_in_one_half_precision_are_computed_in_the_other(network: nn.Module) -> None:
    def large(batch: Tensor) -> Tensor:
        return network(F.conv2d(batch * 3e4, torch.ones(3, 3, 1, 1))) * 1e-4

    output, _ = differentiate(use_half_precision(large, CPU, BOTH), BATCH)
    assert cosine_similarity(output, large(BATCH)) > 0.999 and not torch.equal(output, large(BATCH))


def test_a_network_without_half_precision_stays_in_single_precision(network: nn.Module) -> None:
    def strict(batch: Tensor) -> Tensor:
        features = F.conv2d(batch, torch.ones(4, 3, 3, 3))
        if features.dtype != torch.float32:
            raise RuntimeError("expected scalar type Float")
        return features.flatten(1)

    output, gradient = differentiate(use_half_precision(strict, CPU, BOTH), BATCH)
    assert torch.equal(output, strict(BATCH)) and float(gradient.abs().max()) > 0


# Recordings


Replay = Callable[[Forward, tuple[Tensor, ...]], Forward]


def test_a_shape_is_recorded_once_it_has_occurred_often(network: nn.Module) -> None:
    recorded: list[torch.Size] = []

    def record(forward: Forward, inputs: tuple[Tensor, ...]) -> Forward:
        recorded.append(inputs[0].shape)
        return forward

    replayed = replay_often(network, record)
    for _ in range(20):
        differentiate(replayed, BATCH)
    differentiate(replayed, BATCH[:1])
    assert recorded == [BATCH.shape]


@pytest.mark.parametrize("wrong", ["stale", "still", "refused"])
def test_a_network_with_an_unfaithful_recording_is_called_directly(network: nn.Module, wrong: str) -> None:
    def record(forward: Forward, inputs: tuple[Tensor, ...]) -> Forward:
        if wrong == "refused":
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        recorded_output = forward(inputs[0]).detach()
        if wrong == "stale":  # returns what it was recorded with, whatever it is given
            return lambda batch: recorded_output + forward(batch) - forward(batch).detach()
        return lambda batch: forward(batch).detach() + 0 * batch.sum()  # its gradient is 0

    replayed = replay_often(network, record)
    for _ in range(20):
        differentiate(replayed, BATCH)
    output, gradient = differentiate(replayed, BATCH.flip(0))
    expected, expected_gradient = differentiate(network, BATCH.flip(0))
    assert torch.equal(output, expected) and torch.equal(gradient, expected_gradient)


def test_running_out_of_gpu_memory_while_recording_raises(network: nn.Module) -> None:
    def record(forward: Forward, inputs: tuple[Tensor, ...]) -> Forward:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    replayed = replay_often(network, record)
    with pytest.raises(torch.OutOfMemoryError):
        for _ in range(20):
            differentiate(replayed, BATCH)


class Moved(nn.Module):
    """Notes where it is moved to, and stays."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[object] = []
        self.weight = nn.Parameter(torch.ones(2, 3, 4, 5))

    def to(self, *where: Any, **how: Any) -> Any:
        self.asked += [*where, *how.values()]
        return self


@pytest.mark.parametrize(
    ("card", "foreign", "changed"),
    [("cuda", False, True), ("cuda", True, False), ("mps", False, False), ("cpu", False, False)],
)
def test_our_own_networks_use_the_memory_layout_that_a_card_prefers(card: str, foreign: bool, changed: bool) -> None:
    placed = move_network(Moved(), torch.device(card), foreign=foreign)
    assert placed.asked == [torch.device(card)] and not placed.training
    assert placed.weight.is_contiguous(memory_format=torch.channels_last) == changed
