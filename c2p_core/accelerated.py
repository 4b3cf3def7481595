"""Accelerates frozen networks on a graphics card; on a processor they stay as they are.

Gradients are computed in half precision if the card has units for it, because they only give a direction. Similarities
without gradients, on which decisions and reports rest, are computed in single precision.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from c2p_core.gpu_memory import is_out_of_gpu_memory

Forward = Callable[[Tensor], Tensor]
Record = Callable[[Forward, tuple[Tensor, ...]], Forward]
_Network = TypeVar("_Network", bound=nn.Module)

# Compute capabilities from which on CUDA has units for bfloat16, and for float16.
_BFLOAT16, _FLOAT16 = (8, 0), (7, 0)
# Gradients in float16 are multiplied by this on their way, or the smallest would become 0.
_GRADIENT_SCALE = 1024.0
# Batches of a size are recorded once they have occurred this often. A guess made without a card: time `record` in
# ``_Recorder._record_checked`` and a step with and without a replay, on a card and after torch.cuda.synchronize().
# Recording pays off after (its duration / the time saved by a replay) steps.
_WORTH_RECORDING = 8
# Least cosine similarity of outputs and gradients: of a replay to the recorded function, and of half precision to
# single precision. A step of Adam depends on little more of a gradient than its signs.
_REPLAY_SIMILARITY, _HALF_PRECISION_SIMILARITY = 0.999, 0.9


def move_network(network: _Network, device: torch.device, *, foreign: bool = False) -> _Network:
    """Move a network to a device, frozen, in eval mode, and in the memory layout that the device prefers.

    Args:
        network: any.
        device: to compute on.
        foreign: whether its code is third-party and may rely on the usual layout (``Tensor.view``).
    """
    moved = network.eval().requires_grad_(False).to(device)
    if device.type == "cuda" and not foreign:
        put_channels_last(moved)
    return moved


def put_channels_last(network: nn.Module) -> None:
    """Store the weights of four dimensions with their channels last.

    Unlike ``Module.to``, this leaves those of five dimensions alone, for which that layout would be an error.
    """
    for tensor in itertools.chain(network.parameters(), network.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.to(memory_format=torch.channels_last)


def accelerate(forward: Forward, device: torch.device, recorded: bool = False) -> Forward:
    """Accelerate the function of a frozen network on a device; on a processor, return it unchanged.

    Args:
        forward: maps a batch (B, ...) to (B, D).
        device: of the network.
        recorded: whether its kernels are recorded once per shape of batches and replayed (CUDA graphs), if that works
            for this network.
    """
    precisions = list_half_precisions(device)
    differentiable = use_half_precision(forward, device, precisions) if precisions else forward
    if recorded:
        differentiable = replay_often(differentiable, _record_graph)
    return (
        forward
        if differentiable is forward
        else lambda batch: differentiable(batch) if batch.requires_grad else forward(batch)
    )


def list_half_precisions(device: torch.device) -> tuple[torch.dtype, ...]:
    """List the types in which a device computes gradients fast, best first; none if single precision is safer.

    float16 has three bits more than bfloat16: of the recognisers that ship, its gradients had a cosine similarity of
    0.96 to 1.00 with those of single precision, and bfloat16's 0.73 to 0.99, by autocast on a processor (see
    benchmarks/EXPERIMENTS.md). bfloat16 is for values that overflow in float16.

    MPS has units for float16 only on newer systems, and the search has not been evaluated on it yet.
    """
    if device.type != "cuda":
        return ()
    capability = torch.cuda.get_device_capability(device)
    requirements = ((torch.float16, _FLOAT16), (torch.bfloat16, _BFLOAT16))
    return tuple(precision for precision, required in requirements if capability >= required)


def use_half_precision(forward: Forward, device: torch.device, precisions: Sequence[torch.dtype]) -> Forward:
    """The function with half-precision arithmetic, single-precision output, and the gradient that belongs to it.

    Its first batch decides which type is used. A network that can't be computed in any of them, or whose gradients
    would have another direction, stays in single precision.

    Args:
        forward: maps a batch (B, ...) to (B, D).
        device: of the network.
        precisions: see ``list_half_precisions``.
    """
    chosen: list[Forward] = []

    def compute(batch: Tensor) -> Tensor:
        if not chosen:
            candidates = (_convert(forward, device, precision) for precision in precisions)
            sample = batch.detach()
            chosen.append(
                next(
                    (candidate for candidate in candidates if _has_similar_gradient(candidate, forward, sample)),
                    forward,
                )
            )
        return chosen[0](batch)

    return compute


def _convert(forward: Forward, device: torch.device, precision: torch.dtype) -> Forward:
    scale = _GRADIENT_SCALE if precision == torch.float16 else 1.0

    def compute(batch: Tensor) -> Tensor:
        # A cache of converted weights would become part of a recording.
        with torch.autocast(device.type, precision, cache_enabled=False):
            output = forward(_scale_gradient(batch, 1.0 / scale))
        return _scale_gradient(output.float(), scale)

    return compute


def _has_similar_gradient(fast: Forward, exact: Forward, sample: Tensor) -> bool:
    expected = _forward_and_gradient(exact, sample)
    try:
        actual = _forward_and_gradient(fast, sample)
    except RuntimeError as error:
        if is_out_of_gpu_memory(error):
            raise
        return False
    return _are_similar(expected, actual, _HALF_PRECISION_SIMILARITY)


def _scale_gradient(passed: Tensor, factor: float) -> Tensor:
    if factor == 1.0:
        return passed
    scaled: Tensor = _ScaledGradient.apply(passed, factor)  # type: ignore[no-untyped-call]
    return scaled


class _ScaledGradient(torch.autograd.Function):
    """Passes values on unchanged and multiplies gradients; gradients that overflowed become 0."""

    @staticmethod
    def forward(ctx: Any, passed: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return passed.view_as(passed)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return torch.nan_to_num(gradient, 0.0, 0.0, 0.0) * ctx.factor, None


def replay_often(forward: Forward, record: Record) -> Forward:
    """Replay a function for batches of a shape that occurs often enough, else call it.

    Args:
        forward: maps a batch (B, ...) to (B, D).
        record: makes a function that replays another one for inputs like the given ones.
    """
    return _Recorder(forward, record)


class _Recorder:
    def __init__(self, forward: Forward, record: Record) -> None:
        self._forward = forward
        self._record = record
        self._uses: dict[torch.Size, int] = {}
        self._replays: dict[torch.Size, Forward] = {}

    def __call__(self, batch: Tensor) -> Tensor:
        shape = batch.shape
        if shape not in self._replays:
            self._uses[shape] = self._uses.get(shape, 0) + 1
            if self._uses[shape] < _WORTH_RECORDING:
                return self._forward(batch)
            self._replays[shape] = self._record_checked(batch) or self._forward
        return self._replays[shape](batch)

    def _record_checked(self, batch: Tensor) -> Forward | None:
        """Record a replay; None if this network can't be recorded, or its replay gives other results."""
        sample = batch.detach().clone()
        # Not the recorded batch: a replay must not merely return its recorded output.
        other = sample.flip(-1)
        expected = _forward_and_gradient(self._forward, other)
        try:
            replay = self._record(self._forward, (sample.requires_grad_(),))
            actual = _forward_and_gradient(replay, other)
        except RuntimeError as error:
            if is_out_of_gpu_memory(error):
                raise
            return None
        return replay if _are_similar(expected, actual, _REPLAY_SIMILARITY) else None


def _forward_and_gradient(forward: Forward, sample: Tensor) -> tuple[Tensor, Tensor]:
    batch = sample.clone().requires_grad_()
    output = forward(batch)
    # A direction in which the length of descriptors, which the similarity does not depend on, has no part.
    weights = torch.linspace(-1.0, 1.0, output.numel(), device=output.device).reshape(output.shape)
    (gradient,) = torch.autograd.grad((output * weights).sum(), [batch])
    return output.detach().clone(), gradient.clone()


def _are_similar(expected: Sequence[Tensor], actual: Sequence[Tensor], threshold: float) -> bool:
    similarities = [
        torch.cosine_similarity(w.flatten(), f.flatten(), dim=0) for w, f in zip(expected, actual, strict=True)
    ]
    return all(float(similarity) >= threshold for similarity in similarities)


def _record_graph(forward: Forward, inputs: tuple[Tensor, ...]) -> Forward:
    return cast("Forward", torch.cuda.make_graphed_callables(forward, inputs))
