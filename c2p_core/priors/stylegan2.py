"""StyleGAN2 (Karras et al., CVPR 2020) and the e4e encoder (Tov et al., SIGGRAPH 2021) in plain PyTorch.

No compiled extensions: the convolutions of a batch share their weights, and styles scale their inputs and outputs; the
blur filters are ordinary transposed convolutions. Sizes are powers of two, with any number of channels at each.
Pictures are RGB in about -1..1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SLOPE = 0.2
_GAIN = math.sqrt(2.0)
_EPSILON = 1e-8
MAPPING_RATE = 0.01
"""Relative learning rate of the mapping network, implemented by the scale of its weights."""


@dataclass(frozen=True)
class GeneratorShape:
    """The architecture of a generator.

    Attributes:
        channels: at 4, 8, 16 ... px, one number per resolution.
        style: length of z and w.
        mapping: number of layers of the mapping network.
    """

    channels: tuple[int, ...]
    style: int = 512
    mapping: int = 8

    @property
    def size(self) -> int:
        """Side of the picture in pixels."""
        return int(2 ** (len(self.channels) + 1))

    @property
    def codes(self) -> int:
        """Rows of a W+ code: 18 at 1024 px."""
        return 2 * len(self.channels)


FFHQ = GeneratorShape((512, 512, 512, 512, 512, 256, 128, 64, 32))
"""The paper's architecture for 1024 px."""


class EqualLinear(nn.Module):
    """A dense layer with equalised learning rate: weights are stored at unit variance and scaled when used."""

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * (self.rate / math.sqrt(self.weight.shape[1])), self.bias * self.rate)


class Mapping(nn.Module):
    """Maps (B, style) normal draws z to (B, style) codes in W."""

    def __init__(self, shape: GeneratorShape) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EqualLinear(shape.style, shape.style, rate=MAPPING_RATE) for _ in range(shape.mapping)
        )

    def forward(self, z: Tensor) -> Tensor:
        x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + _EPSILON)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), _SLOPE) * _GAIN
        return x


class StyledLayer(nn.Module):
    """A modulated and demodulated 3 x 3 convolution, noise, bias and activation; optionally doubles the size."""

    def __init__(self, inputs: int, outputs: int, style: int, side: int, upsample: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.affine = EqualLinear(style, inputs, bias=1.0)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(side, side))
        self.noise: Tensor
        self.upsample = upsample

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None) -> Tensor:
        """Args:
        x: (B, inputs, h, h).
        w: (B, style).
        noise: (side, side) or (B, 1, side, side); the stored map when None.
        """
        weight = self.weight / math.sqrt(self.weight[0].numel())
        style = self.affine(w)
        scale = torch.rsqrt(style.square() @ weight.square().sum((2, 3)).T + _EPSILON)
        # The activation is homogeneous, so its gain can be applied to its input.
        if len(x) == 1:
            # For a single picture it is cheaper to scale the weights than the features.
            x = self._convolve(x, weight * style[0, :, None, None] * (_GAIN * scale[0])[:, None, None, None])
        else:
            x = self._convolve(x * style[:, :, None, None].to(x.dtype), weight)
            x = x * (_GAIN * scale)[:, :, None, None].to(x.dtype)
        added = (self.noise if noise is None else noise) * (_GAIN * self.noise_strength)
        added = added + (_GAIN * self.bias)[:, None, None]
        return F.leaky_relu(x + added.to(x.dtype), _SLOPE)

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.upsample:
            return blur_upsampled(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        return F.conv2d(x, weight, padding=1)


class ToRgb(nn.Module):
    """A modulated 1 x 1 convolution to RGB."""

    def __init__(self, inputs: int, style: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.affine = EqualLinear(style, inputs, bias=1.0)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w) / math.sqrt(self.weight.shape[1])
        kernel = self.weight[:, :, 0, 0] * style[:, None]
        flat = torch.bmm(kernel.to(x.dtype), x.flatten(2)) if len(x) > 1 else kernel[0].to(x.dtype) @ x[0].flatten(1)
        return flat.reshape(len(x), 3, *x.shape[2:]) + self.bias[:, None, None].to(x.dtype)


@dataclass(frozen=True)
class PartialSynthesis:
    """The intermediate state of a synthesis.

    Attributes:
        layers: number of styled layers that have been computed.
        features: (B, C, h, h) their output.
        picture: (B, 3, h, h) RGB so far, None before the first layer.
    """

    layers: int
    features: Tensor
    picture: Tensor | None


class Generator(nn.Module):
    """Synthesises pictures from W+ codes, with skip connections to RGB."""

    def __init__(self, shape: GeneratorShape) -> None:
        super().__init__()
        self.shape = shape
        self.mapping = Mapping(shape)
        self.constant = nn.Parameter(torch.randn(shape.channels[0], 4, 4))
        self.layers = nn.ModuleList()
        self.rgbs = nn.ModuleList()
        before = shape.channels[0]
        for level, channels in enumerate(shape.channels):
            side = 4 << level
            if level:
                self.layers.append(StyledLayer(before, channels, shape.style, side, upsample=True))
            self.layers.append(StyledLayer(channels, channels, shape.style, side, upsample=False))
            self.rgbs.append(ToRgb(channels, shape.style))
            before = channels
        self.register_buffer("mean_w", torch.zeros(shape.style))
        self.mean_w: Tensor

    def map(self, z: Tensor, truncation: float = 1.0) -> Tensor:
        """Map (B, style) normal draws to (B, codes, style) in W+; truncation below 1 pulls towards the mean code."""
        w: Tensor = self.mean_w + truncation * (self.mapping(z) - self.mean_w)
        return w[:, None].expand(-1, self.shape.codes, -1)

    def synthesise_layers(self, codes: Tensor, layers: int) -> PartialSynthesis:
        """Compute the first layers alone; the result is valid as long as their rows of the code do not change.

        Args:
            codes: (B, codes, style) in W+.
            layers: their number; must be even, or the last one's RGB would depend on the next row.
        """
        x = self.constant.expand(len(codes), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        return self._run_layers(PartialSynthesis(0, x, None), codes, None, layers)

    def _run_layers(
        self, partial: PartialSynthesis, codes: Tensor, noise: Sequence[Tensor] | None, layers: int
    ) -> PartialSynthesis:
        x, picture = partial.features, partial.picture
        for layer in range(partial.layers, layers):
            x = self.layers[layer](x, codes[:, layer], None if noise is None else noise[layer])
            if layer % 2 == 0:
                rgb = self.rgbs[layer // 2](x, codes[:, layer + 1])
                picture = rgb if picture is None else rgb + upsample_rgb(picture)
        return PartialSynthesis(layers, x, picture)

    def forward(
        self,
        codes: Tensor,
        noise: Sequence[Tensor] | None = None,
        size: int | None = None,
        partial: PartialSynthesis | None = None,
    ) -> Tensor:
        """Synthesis.

        Args:
            codes: (B, codes, style) in W+.
            noise: one map per layer, (side, side) or (B, 1, side, side); the stored maps when None.
            size: side of the picture; a smaller one is an intermediate result of the full size, and costs less.
            partial: result of ``synthesise_layers`` for the same first rows and stored noise.

        Returns:
            (B, 3, size, size) RGB, about -1..1.
        """
        levels = len(self.rgbs) if size is None else int(math.log2(size)) - 1
        picture = self._run_layers(partial or self.synthesise_layers(codes, 0), codes, noise, 2 * levels - 1).picture
        assert picture is not None
        return picture

    def draw_noise(self, count: int, generator: torch.Generator | None = None) -> list[Tensor]:
        """Draw random noise maps for ``count`` pictures."""
        stored = [layer.noise for layer in self.styled_layers()]
        return [torch.randn((count, 1, *noise.shape), generator=generator).to(noise) for noise in stored]

    def styled_layers(self) -> list[StyledLayer]:
        """All styled layers, in order."""
        return [layer for layer in self.layers if isinstance(layer, StyledLayer)]


def blur_upsampled(x: Tensor) -> Tensor:
    """Blur the (B, C, 2h + 1, 2h + 1) output of a transposed convolution with [1, 3, 3, 1], to (B, C, 2h, 2h)."""
    channels = x.shape[1]
    return F.conv2d(x, _filter(x).expand(channels, 1, 4, 4), padding=1, groups=channels)


def upsample_rgb(x: Tensor) -> Tensor:
    """Upsample (B, C, h, h) by 2 with the filter [1, 3, 3, 1]; zeros beyond the border."""
    channels = x.shape[1]
    return F.conv_transpose2d(x, _filter(x).expand(channels, 1, 4, 4), stride=2, padding=1, groups=channels)


def _filter(like: Tensor) -> Tensor:
    taps = like.new_tensor([0.25, 0.75, 0.75, 0.25])
    return taps[:, None] * taps


@dataclass(frozen=True)
class EncoderShape:
    """The architecture of an encoder; the defaults are e4e's for 1024 px.

    Attributes:
        codes: rows of its W+ code.
        style: length of w.
        size: side of its input in pixels.
        channels: of the body's four stages; the last is also the width of the feature pyramid.
        units: residual units of each stage.
        heads: channels inside a style head.
    """

    codes: int = 18
    style: int = 512
    size: int = 256
    channels: tuple[int, int, int, int] = (64, 128, 256, 512)
    units: tuple[int, int, int, int] = (3, 4, 14, 3)
    heads: int = 512


# Rows of the code from the coarse level of the pyramid, and from the coarse and middle levels together.
_COARSE, _MIDDLE = 3, 7


class Squeeze(nn.Module):
    """Squeeze and excitation: weights every channel by statistics of the whole picture."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 16, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // 16, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class Unit(nn.Module):
    """A residual unit of the IR-SE body."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = (
            nn.MaxPool2d(1, stride)
            if inputs == outputs
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            Squeeze(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return output


class StyleHead(nn.Module):
    """Maps one level of the feature pyramid to one row of the code."""

    def __init__(self, inputs: int, width: int, style: int, side: int) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for number in range(int(math.log2(side))):
            steps += [nn.Conv2d(inputs if number == 0 else width, width, 3, 2, 1), nn.LeakyReLU()]
        self.convs = nn.Sequential(*steps)
        self.linear = EqualLinear(width, style)

    def forward(self, x: Tensor) -> Tensor:
        row: Tensor = self.linear(self.convs(x).flatten(1))
        return row


class Encoder(nn.Module):
    """Encodes pictures in W+: one code shared by all layers, plus an offset per layer.

    Submodules are named as in e4e, whose weights fit the default architecture.
    """

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.shape = shape
        widths, before = shape.channels, shape.channels[0]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, before, 3, 1, 1, bias=False), nn.BatchNorm2d(before), nn.PReLU(before)
        )
        body: list[nn.Module] = []
        for width, count in zip(widths, shape.units, strict=True):
            for number in range(count):
                body.append(Unit(before, width, 2 if number == 0 else 1))
                before = width
        self.body = nn.Sequential(*body)
        sides = [shape.size // 16] * _COARSE + [shape.size // 8] * (_MIDDLE - _COARSE)
        sides += [shape.size // 4] * (shape.codes - _MIDDLE)
        self.styles = nn.ModuleList(
            StyleHead(widths[3], shape.heads, shape.style, side) for side in sides[: shape.codes]
        )
        self.latlayer1 = nn.Conv2d(widths[2], widths[3], 1)
        self.latlayer2 = nn.Conv2d(widths[1], widths[3], 1)
        self.register_buffer("latent_avg", torch.zeros(shape.codes, shape.style))
        self.latent_avg: Tensor

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, size, size) RGB -1..1 to (B, codes, style)."""
        base, offsets = self.base_and_offsets(pictures)
        return self.latent_avg + base[:, None] + offsets

    def base_and_offsets(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Encode pictures as the shared code (B, style) and the offsets (B, codes, style), without the average code."""
        x = self.input_layer(pictures)
        features: list[Tensor] = []
        ends = [sum(self.shape.units[: stage + 1]) for stage in range(4)]
        for number, unit in enumerate(self.body, 1):
            x = unit(x)
            if number in ends[1:]:
                features.append(x)
        fine, middle, coarse = features
        middle = _resize_to(coarse, middle) + self.latlayer1(middle)
        fine = _resize_to(middle, fine) + self.latlayer2(fine)
        pyramid = [coarse] * _COARSE + [middle] * (_MIDDLE - _COARSE) + [fine] * (self.shape.codes - _MIDDLE)
        rows = [head(level) for head, level in zip(self.styles, pyramid[: self.shape.codes], strict=True)]
        return rows[0], torch.stack([torch.zeros_like(rows[0]), *rows[1:]], 1)


def _resize_to(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)
