"""StyleGAN2 (Karras et al., CVPR 2020) and the e4e encoder (Tov et al., SIGGRAPH 2021) in plain PyTorch.

Without compiled extensions: the convolutions of a batch share their weights, styles scale what goes in and what comes
out; the filters around them are ordinary transposed convolutions. Any size that is a power of two, any channel table.
Pictures inside these networks are RGB in about -1..1.
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
"""The mapping network learns at this share of the rate of all others, by the scale of its weights."""


@dataclass(frozen=True)
class GeneratorShape:
    """What makes up a generator.

    Attributes:
        channels: at 4, 8, 16 ... px; as many as there are resolutions.
        style: length of z and of w.
        mapping: layers of the mapping network.
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
"""The paper's network for 1024 px."""


class EqualLinear(nn.Module):
    """A dense layer whose weights are stored at unit variance and scaled when used."""

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * (self.rate / math.sqrt(self.weight.shape[1])), self.bias * self.rate)


class Mapping(nn.Module):
    """(B, style) draws from a normal distribution to (B, style) codes in W."""

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
    """A modulated and demodulated 3 x 3 convolution, noise, bias and activation; doubles the size where asked to."""

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
        """Args: x: (B, inputs, h, h). w: (B, style). noise: (side, side) or (B, 1, side, side), else the stored one."""
        weight = self.weight / math.sqrt(self.weight[0].numel())
        style = self.affine(w)
        scale = torch.rsqrt(style.square() @ weight.square().sum((2, 3)).T + _EPSILON)
        # The activation is homogeneous, so that its gain can go into what comes before it.
        if len(x) == 1:
            # For a single picture it is cheaper to scale the weights than what they are laid on.
            x = self._convolved(x, weight * style[0, :, None, None] * (_GAIN * scale[0])[:, None, None, None])
        else:
            x = self._convolved(x * style[:, :, None, None].to(x.dtype), weight)
            x = x * (_GAIN * scale)[:, :, None, None].to(x.dtype)
        added = (self.noise if noise is None else noise) * (_GAIN * self.noise_strength)
        added = added + (_GAIN * self.bias)[:, None, None]
        return F.leaky_relu(x + added.to(x.dtype), _SLOPE)

    def _convolved(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.upsample:
            return blur_upsampled(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        return F.conv2d(x, weight, padding=1)


class ToRgb(nn.Module):
    """A modulated 1 x 1 convolution to red, green and blue."""

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
    """A picture half made.

    Attributes:
        layers: how many of the styled layers have been passed.
        features: (B, C, h, h) after them.
        picture: (B, 3, h, h) RGB so far, None before the first.
    """

    layers: int
    features: Tensor
    picture: Tensor | None


class Generator(nn.Module):
    """Codes to pictures, with skip connections to RGB."""

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
        """(B, style) normal draws to (B, codes, style); truncation below 1 pulls them towards the mean face."""
        w: Tensor = self.mean_w + truncation * (self.mapping(z) - self.mean_w)
        return w[:, None].expand(-1, self.shape.codes, -1)

    def synthesise_layers(self, codes: Tensor, layers: int) -> PartialSynthesis:
        """The first layers alone; as long as their rows of the code stay, so does what they make.

        Args:
            codes: (B, codes, style) in W+.
            layers: how many; an even number, or the last one's RGB would depend on the next row.
        """
        x = self.constant.expand(len(codes), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        return self._on(PartialSynthesis(0, x, None), codes, None, layers)

    def _on(
        self, begun: PartialSynthesis, codes: Tensor, noise: Sequence[Tensor] | None, layers: int
    ) -> PartialSynthesis:
        x, picture = begun.features, begun.picture
        for at in range(begun.layers, layers):
            x = self.layers[at](x, codes[:, at], None if noise is None else noise[at])
            if at % 2 == 0:
                rgb = self.rgbs[at // 2](x, codes[:, at + 1])
                picture = rgb if picture is None else rgb + upsample_rgb(picture)
        return PartialSynthesis(layers, x, picture)

    def forward(
        self,
        codes: Tensor,
        noise: Sequence[Tensor] | None = None,
        size: int | None = None,
        begun: PartialSynthesis | None = None,
    ) -> Tensor:
        """Synthesis.

        Args:
            codes: (B, codes, style) in W+.
            noise: one map per layer, (side, side) or (B, 1, side, side); the stored maps when None.
            size: side of the picture wanted: a smaller one is what the network has made on the way, and costs less.
            begun: what ``synthesise_layers`` made of the same first rows and stored noise.

        Returns:
            (B, 3, size, size) RGB, about -1..1.
        """
        levels = len(self.rgbs) if size is None else int(math.log2(size)) - 1
        picture = self._on(begun or self.synthesise_layers(codes, 0), codes, noise, 2 * levels - 1).picture
        assert picture is not None
        return picture

    def draw_noise(self, count: int, generator: torch.Generator | None = None) -> list[Tensor]:
        """Random maps for ``count`` pictures."""
        stored = [layer.noise for layer in self.styled_layers()]
        return [torch.randn((count, 1, *noise.shape), generator=generator).to(noise) for noise in stored]

    def styled_layers(self) -> list[StyledLayer]:
        """The layers, typed."""
        return [layer for layer in self.layers if isinstance(layer, StyledLayer)]


def blur_upsampled(x: Tensor) -> Tensor:
    """(B, C, 2h + 1, 2h + 1) from a transposed convolution, through the filter [1, 3, 3, 1], to (B, C, 2h, 2h)."""
    channels = x.shape[1]
    return F.conv2d(x, _filter(x).expand(channels, 1, 4, 4), padding=1, groups=channels)


def upsample_rgb(x: Tensor) -> Tensor:
    """(B, C, h, h) to twice the size through the filter [1, 3, 3, 1]; zeros beyond the border."""
    channels = x.shape[1]
    return F.conv_transpose2d(x, _filter(x).expand(channels, 1, 4, 4), stride=2, padding=1, groups=channels)


def _filter(like: Tensor) -> Tensor:
    taps = like.new_tensor([0.25, 0.75, 0.75, 0.25])
    return taps[:, None] * taps


@dataclass(frozen=True)
class EncoderShape:
    """What makes up an encoder; the defaults are e4e's for 1024 px.

    Attributes:
        codes: rows of the W+ code that it gives.
        style: length of w.
        size: side of the picture that it takes, in pixels.
        channels: of the body's four stages; the last is the width of the feature pyramid too.
        units: residual units in each stage.
        heads: channels inside a style head.
    """

    codes: int = 18
    style: int = 512
    size: int = 256
    channels: tuple[int, int, int, int] = (64, 128, 256, 512)
    units: tuple[int, int, int, int] = (3, 4, 14, 3)
    heads: int = 512


# Which rows of the code come from which level of the pyramid.
_COARSE, _MIDDLE = 3, 7


class Squeeze(nn.Module):
    """Squeeze and excitation: every channel weighted by what the whole picture says."""

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
        made: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return made


class StyleHead(nn.Module):
    """Features of one level of the pyramid to one row of the code."""

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
    """Pictures to W+: one code for all layers, and what each layer's differs from it.

    Names of the parts follow e4e, whose weights fit where the shape is the default one.
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
        """The code that all layers share, (B, style), and what each adds, (B, codes, style); without the average."""
        x = self.input_layer(pictures)
        found: list[Tensor] = []
        ends = [sum(self.shape.units[: at + 1]) for at in range(4)]
        for number, unit in enumerate(self.body, 1):
            x = unit(x)
            if number in ends[1:]:
                found.append(x)
        fine, middle, coarse = found
        middle = _grown(coarse, middle) + self.latlayer1(middle)
        fine = _grown(middle, fine) + self.latlayer2(fine)
        pyramid = [coarse] * _COARSE + [middle] * (_MIDDLE - _COARSE) + [fine] * (self.shape.codes - _MIDDLE)
        rows = [head(level) for head, level in zip(self.styles, pyramid[: self.shape.codes], strict=True)]
        return rows[0], torch.stack([torch.zeros_like(rows[0]), *rows[1:]], 1)


def _grown(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)
