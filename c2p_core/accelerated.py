"""Frozen networks as they run best on a graphics card; on a processor they stay as they are.

Gradients are computed in half precision where the card has units for it: they only point the way. What decides and
what is reported, the similarities without gradients, is computed in single precision.
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
# Batches of a size are recorded when they occur this often. A guess, for no card was here: time `record` in
# ``_Recorder._record_checked`` and a step with and without a replay, on a card and after torch.cuda.synchronize().
# Recording pays after as many steps as its seconds are times the seconds that a replay saves.
_WORTH_RECORDING = 8
# Cosine similarity that output and gradient must have: of a replay with what it was recorded from, and of half
# precision with single precision. A step of Adam depends on little more of a gradient than its signs.
_FAITHFUL, _CLOSE = 0.999, 0.9


def place(network: _Network, device: torch.device, *, foreign: bool = False) -> _Network:
    """Move a network to a device, frozen, in eval mode, and in the memory layout that the device prefers.

    Args:
        network: any.
        device: to compute on.
        foreign: whether its code is that of others, which may take the usual layout for granted (``Tensor.view``).
    """
    placed = network.eval().requires_grad_(False).to(device)
    if device.type == "cuda" and not foreign:
        put_channels_last(placed)
    return placed


def put_channels_last(network: nn.Module) -> None:
    """Store the weights of four dimensions with their channels last.

    Unlike ``Module.to``, this leaves those of five as they are, which have no such layout: it would be an error.
    """
    for tensor in itertools.chain(network.parameters(), network.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.to(memory_format=torch.channels_last)


def accelerate(forward: Forward, device: torch.device, recorded: bool = False) -> Forward:
    """The function of a frozen network as it runs best on a device; on a processor the same function.

    Args:
        forward: maps a batch (B, ...) to (B, D).
        device: that the network was placed on.
        recorded: whether its kernels are recorded once per shape of batches and replayed (CUDA graphs), if that works
            for this network.
    """
    precisions = list_half_precisions(device)
    steps = use_half_precision(forward, device, precisions) if precisions else forward
    if recorded:
        steps = replay_often(steps, _record_graph)
    return forward if steps is forward else lambda batch: steps(batch) if batch.requires_grad else forward(batch)


def list_half_precisions(device: torch.device) -> tuple[torch.dtype, ...]:
    """The types in which a device computes gradients fast, the better one first; none where single precision is safer.

    float16 has three bits more than bfloat16: of the recognisers that ship, its gradients had a cosine similarity of
    0.96 to 1.00 with those of single precision, and bfloat16's 0.73 to 0.99, by autocast on a processor (see
    benchmarks/EXPERIMENTS.md). What overflows in it does not in bfloat16.

    MPS has units for float16 only from some systems on, and nobody has measured on it what a search achieves.
    """
    if device.type != "cuda":
        return ()
    capability = torch.cuda.get_device_capability(device)
    needed = ((torch.float16, _FLOAT16), (torch.bfloat16, _BFLOAT16))
    return tuple(precision for precision, least in needed if capability >= least)


def use_half_precision(forward: Forward, device: torch.device, precisions: Sequence[torch.dtype]) -> Forward:
    """The function with half-precision arithmetic, single-precision output, and the gradient that belongs to it.

    Its first batch decides which of the types serves: a network that can't be computed in any of them, or whose
    gradients would point elsewhere, stays in single precision.

    Args:
        forward: maps a batch (B, ...) to (B, D).
        device: that the network was placed on.
        precisions: of ``list_half_precisions``, the better one first.
    """
    chosen: list[Forward] = []

    def compute(batch: Tensor) -> Tensor:
        if not chosen:
            fast = (_convert(forward, device, precision) for precision in precisions)
            sample = batch.detach()
            chosen.append(next((one for one in fast if _is_faithful(one, forward, sample)), forward))
        return chosen[0](batch)

    return compute


def _convert(forward: Forward, device: torch.device, precision: torch.dtype) -> Forward:
    scale = _GRADIENT_SCALE if precision == torch.float16 else 1.0

    def compute(batch: Tensor) -> Tensor:
        # A cache of converted weights would be part of what is recorded.
        with torch.autocast(device.type, precision, cache_enabled=False):
            found = forward(_scale_gradient(batch, 1.0 / scale))
        return _scale_gradient(found.float(), scale)

    return compute


def _is_faithful(fast: Forward, exact: Forward, sample: Tensor) -> bool:
    wanted = _forward_and_gradient(exact, sample)
    try:
        found = _forward_and_gradient(fast, sample)
    except RuntimeError as error:
        if is_out_of_gpu_memory(error):
            raise
        return False
    return _are_alike(wanted, found, _CLOSE)


def _scale_gradient(passed: Tensor, factor: float) -> Tensor:
    if factor == 1.0:
        return passed
    scaled: Tensor = _ScaledGradient.apply(passed, factor)  # type: ignore[no-untyped-call]
    return scaled


class _ScaledGradient(torch.autograd.Function):
    """Passes values on as they are and multiplies gradients; what overflowed counts as no gradient."""

    @staticmethod
    def forward(ctx: Any, passed: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return passed.view_as(passed)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return torch.nan_to_num(gradient, 0.0, 0.0, 0.0) * ctx.factor, None


def replay_often(forward: Forward, record: Record) -> Forward:
    """Replay a function where batches of a shape occur often enough, and call it otherwise.

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
        """A replay; None where this network can't be recorded, or its replay comes out otherwise."""
        sample = batch.detach().clone()
        # Another batch than the recorded one: a replay must not return what it was recorded with.
        other = sample.flip(-1)
        wanted = _forward_and_gradient(self._forward, other)
        try:
            replay = self._record(self._forward, (sample.requires_grad_(),))
            found = _forward_and_gradient(replay, other)
        except RuntimeError as error:
            if is_out_of_gpu_memory(error):
                raise
            return None
        return replay if _are_alike(wanted, found, _FAITHFUL) else None


def _forward_and_gradient(forward: Forward, sample: Tensor) -> tuple[Tensor, Tensor]:
    batch = sample.clone().requires_grad_()
    found = forward(batch)
    # A direction in which the length of descriptors, which the similarity does not depend on, has no part.
    weights = torch.linspace(-1.0, 1.0, found.numel(), device=found.device).reshape(found.shape)
    (gradient,) = torch.autograd.grad((found * weights).sum(), [batch])
    return found.detach().clone(), gradient.clone()


def _are_alike(wanted: Sequence[Tensor], found: Sequence[Tensor], least: float) -> bool:
    likeness = [torch.cosine_similarity(w.flatten(), f.flatten(), dim=0) for w, f in zip(wanted, found, strict=True)]
    return all(float(one) >= least for one in likeness)


def _record_graph(forward: Forward, inputs: tuple[Tensor, ...]) -> Forward:
    return cast("Forward", torch.cuda.make_graphed_callables(forward, inputs))
