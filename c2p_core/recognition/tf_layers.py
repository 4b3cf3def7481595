"""Layers of networks that come from TensorFlow, optimised for gradients with respect to the picture on one core.

Tensors keep TensorFlow's order (batch, row, column, channel): torch's convolutions read it as channels-last without a
copy, and a pointwise convolution is a plain matrix product, on which these networks spend most of their time. Weights
are buffers, not parameters, because they are never trained here.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["none", "prelu", "relu6"]
Pads = tuple[int, int] | Literal["same"]
"""Padding before and after, for rows and columns alike; or that of TensorFlow's SAME for a square picture."""
# MobileNet (Howard et al., 2017): channels of the first layer; then output channels and stride of each
# depthwise-pointwise pair.
_MOBILENET_STEM = 32
_MOBILENET_PAIRS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
MOBILENET_CHANNELS = 1024


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding before and after one axis; the odd pixel comes after."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class Clamp(torch.autograd.Function):
    """In-place clamp that saves its result for the backward pass; torch's copies its input, a sixth of the time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.mark_dirty(x)
        x.clamp_(low, high)
        ctx.save_for_backward(x)
        ctx.bounds = (low, high)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (clamped,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, clamped, *ctx.bounds), None, None


class Prelu(torch.autograd.Function):
    """In-place PReLU for slopes of any sign; several times faster than torch's, which branches per value."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slopes: Tensor, rise: Tensor) -> Tensor:
        """``x`` is overwritten; ``slopes`` below zero and ``rise``, 1 - slopes, broadcast to it."""
        # 0 or 1 as a float: what follows is vectorised arithmetic.
        factor = torch.gt(x, 0, out=torch.empty_like(x))
        torch.addcmul(slopes, factor, rise, out=factor)
        ctx.mark_dirty(x)
        ctx.save_for_backward(factor)
        return x.mul_(factor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (factor,) = ctx.saved_tensors
        return gradient * factor, None, None


class Convolution(nn.Module):
    """A convolution with bias and activation, on (B, rows, columns, channels).

    Attributes:
        weight: (outputs, inputs) if pointwise, (channels, 1, kernel, kernel) if depthwise, else (outputs, inputs,
            kernel, kernel).
        bias: (outputs,).
        slopes: (outputs,) of the PReLU, if that is the activation.
    """

    weight: Tensor
    bias: Tensor
    slopes: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        depthwise: bool = False,
        pads: Pads = (0, 0),
        activation: Activation = "none",
    ) -> None:
        """All weights are 0 until they are loaded."""
        super().__init__()
        self.pointwise = kernel == 1 and stride == 1 and not depthwise
        shape = (outputs, inputs) if self.pointwise else (outputs, 1 if depthwise else inputs, kernel, kernel)
        self.kernel, self.stride, self.groups = kernel, stride, inputs if depthwise else 1
        self.pads, self.activation = pads, activation
        self.register_buffer("weight", torch.zeros(shape))
        self.register_buffer("bias", torch.zeros(outputs))
        if activation == "prelu":
            self.register_buffer("slopes", torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        # Activations work in place, so their input must not be a view: autograd would copy the whole tensor.
        if self.pointwise:
            rows = torch.addmm(self.bias, x.reshape(-1, x.shape[3]), self.weight.t())
            return self._activate(rows, (-1,)).view(*x.shape[:3], -1)
        weight = self.weight
        before, after = same_padding(x.shape[1], self.kernel, self.stride) if self.pads == "same" else self.pads
        if after == before + 1:
            # Pad both sides equally, with a kernel that ignores the first pixel: cheaper than padding the picture.
            weight, before = F.pad(weight, (1, 0, 1, 0)), after
        assert before == after
        x = F.conv2d(x.permute(0, 3, 1, 2), weight, self.bias, self.stride, before, 1, self.groups)
        return self._activate(x, (-1, 1, 1)).permute(0, 2, 3, 1)

    def _activate(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Apply the activation to a fresh tensor; ``shape`` broadcasts per-channel constants."""
        if self.activation == "prelu":
            slopes = self.slopes.view(shape)
            x = Prelu.apply(x, slopes, 1 - slopes)  # type: ignore[no-untyped-call]
        elif self.activation == "relu6":
            x = Clamp.apply(x, 0.0, 6.0)  # type: ignore[no-untyped-call]
        return x


def make_mobilenet_layers(halving_pads: Pads) -> nn.Sequential:
    """The 27 convolutions of MobileNet, from (B, side, side, 3) to (B, side / 32, side / 32, 1024).

    Args:
        halving_pads: padding of the convolutions of stride 2.
    """

    def pads(stride: int) -> Pads:
        return (1, 1) if stride == 1 else halving_pads

    layers = [Convolution(3, _MOBILENET_STEM, 3, 2, pads=pads(2), activation="relu6")]
    channels = _MOBILENET_STEM
    for outputs, stride in _MOBILENET_PAIRS:
        depthwise_layer = Convolution(
            channels, channels, 3, stride, depthwise=True, pads=pads(stride), activation="relu6"
        )
        layers += [depthwise_layer, Convolution(channels, outputs, activation="relu6")]
        channels = outputs
    return nn.Sequential(*layers)
