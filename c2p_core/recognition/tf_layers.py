"""Layers that networks from TensorFlow's mobile world share, made for gradients towards the picture on one core.

Values keep TensorFlow's order (batch, row, column, channel): torch's convolutions read it as channels-last without a
copy, and a convolution of one pixel is a plain matrix product, which is what these networks spend their time on.
Weights are buffers, not parameters, since nothing here is ever trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from c2p_core.errors import ModelUnavailable
from c2p_core.recognition.tfjs_graph import Clamp

Activation = Literal["none", "prelu", "relu6"]


class Prelu(torch.autograd.Function):
    """PReLU in place, for slopes of any sign; several times faster than torch's, which branches for each value."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slopes: Tensor, rise: Tensor) -> Tensor:
        """``x`` is overwritten; ``slopes`` below zero and ``rise``, 1 - slopes, broadcast to it."""
        # 0 or 1 as a float, so that what follows is plain arithmetic on many values at once.
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
    """A convolution with a bias and what follows it, on (B, rows, columns, channels).

    Attributes:
        weight: (outputs, inputs) of one pixel, else (outputs, inputs, kernel, kernel), (channels, 1, kernel, kernel)
            where it is depthwise.
        bias: (outputs,).
        slopes: (outputs,) of a PReLU.
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
        pads: tuple[int, int] = (0, 0),
        activation: Activation = "none",
    ) -> None:
        """Zeros until weights are loaded; ``pads`` are pixels before and after, in rows and in columns."""
        super().__init__()
        self.pointwise = kernel == 1 and stride == 1 and not depthwise
        shape = (outputs, inputs) if self.pointwise else (outputs, 1 if depthwise else inputs, kernel, kernel)
        self.stride, self.groups, self.pads, self.activation = stride, inputs if depthwise else 1, pads, activation
        self.register_buffer("weight", torch.zeros(shape))
        self.register_buffer("bias", torch.zeros(outputs))
        if activation == "prelu":
            self.register_buffer("slopes", torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        # Activations overwrite what they get, which must not be a view: autograd would copy it whole.
        if self.pointwise:
            rows = torch.addmm(self.bias, x.reshape(-1, x.shape[3]), self.weight.t())
            return self._activated(rows, (-1,)).view(*x.shape[:3], -1)
        weight, (before, after) = self.weight, self.pads
        if after == before + 1:
            # As many pixels on both sides, and a kernel that ignores the first one: cheaper than padding the picture.
            weight, before = F.pad(weight, (1, 0, 1, 0)), after
        assert before == after
        x = F.conv2d(x.permute(0, 3, 1, 2), weight, self.bias, self.stride, before, 1, self.groups)
        return self._activated(x, (-1, 1, 1)).permute(0, 2, 3, 1)

    def _activated(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The activation of a new value; ``shape`` is that of a constant for each channel."""
        if self.activation == "prelu":
            slopes = self.slopes.view(shape)
            x = Prelu.apply(x, slopes, 1 - slopes)  # type: ignore[no-untyped-call]
        elif self.activation == "relu6":
            x = Clamp.apply(x, 0.0, 6.0)  # type: ignore[no-untyped-call]
        return x


def in_half_precision(weight: Tensor) -> bool:
    """Whether a network's tensor is kept in half precision.

    Layers that mix channels are: they hold nearly all weights, and similarities move by less than 0.0025. Depthwise
    kernels are not: they alone would move them by up to 0.018, and hold one weight in fifty. Nor are biases and slopes.
    """
    return weight.ndim in (2, 4) and weight.shape[1] > 1


def round_weights(network: nn.Module) -> None:
    """Rounds what is kept in half precision, in place."""
    for tensor in (*network.buffers(), *network.parameters()):
        if in_half_precision(tensor):
            tensor.data.copy_(tensor.data.half())


def load_weights(network: nn.Module, path: Path) -> None:
    """Fills a network from a .safetensors file, whose tensors may be in half precision.

    Raises:
        ModelUnavailable: the file is missing or damaged, or holds other tensors than the network's.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelUnavailable(f"The network in {path} can't be read ({error}); install the program again.") from error
    own = {name: tensor.shape for name, tensor in network.state_dict().items()}
    types = {tensor.dtype for tensor in tensors.values()}
    if {name: tensor.shape for name, tensor in tensors.items()} != own or not types <= {torch.float32, torch.float16}:
        raise ModelUnavailable(f"{path} holds another network than the one it is named for; install the program again.")
    network.load_state_dict(tensors)
