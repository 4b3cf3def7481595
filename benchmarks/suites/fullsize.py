"""Full size: StyleGAN2 at 1024 px, four recognisers of the paper's sizes and CLIP ViT-B/32, against a plain loop.

The real files can't be had everywhere, and speed does not depend on their numbers: all weights are random. The plain
loop does what the paper describes, naively: weights modulated for each picture, filters by inserted zeros, the whole
picture in every step, all weights tuned, all recognisers in each step, float32. A step of each kind is timed, both
loops in one process, and multiplied by the steps of the paper.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.fingerprint import fingerprint_code
from benchmarks.metrics.memory import peak_mib
from benchmarks.rows import FULLSIZE_FILE
from c2p_core import torchvision_ops
from c2p_core.api import DEFAULT_STRENGTH
from c2p_core.faces.align import crop
from c2p_core.faces.canonical import load_mean_face
from c2p_core.faces.canvas import CanvasFace
from c2p_core.models.store import ModelStore
from c2p_core.models.weights import load_weights
from c2p_core.priors.inversion import (
    InversionSettings,
    ffhq_transform,
    fixed_rows,
    frozen_layers,
    invert,
    synthesise,
    tuned_parameters,
)
from c2p_core.priors.perceptual import Perceptual
from c2p_core.priors.renderer import FaceRenderer
from c2p_core.priors.strength import compute_strength_limits
from c2p_core.priors.stylegan2 import FFHQ, Encoder, EncoderShape, Generator, StyledLayer, ToRgb, Unit
from c2p_core.priors.wplus import WPlusFace, principal_axes
from c2p_core.recognition.alignment import Template, crop_chips
from c2p_core.recognition.mobileface import TEMPLATE, MobileFace

TUNING, SEARCH = 150, 50


@dataclass(frozen=True)
class Speed:
    """Seconds a step, and what they come to for one face.

    Attributes:
        device: its name.
        tuning, search: seconds a step of ours.
        plain_tuning, plain_search: of the plain loop.
        face, plain_face: seconds for the paper's steps.
        timed: how many steps of each kind were timed.
        peak_mib: high-water mark of the process, the plain loop's included.
    """

    device: str
    tuning: float
    search: float
    plain_tuning: float
    plain_search: float
    face: float
    plain_face: float
    timed: int
    peak_mib: float


class _Body(nn.Module):
    """A recogniser with the body of an IR-SE network, for 112 px chips."""

    def __init__(self, units: tuple[int, int, int, int]) -> None:
        super().__init__()
        body: list[nn.Module] = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)]
        before = 64
        for width, count in zip((64, 128, 256, 512), units, strict=True):
            for number in range(count):
                body.append(Unit(before, width, 2 if number == 0 else 1))
                before = width
        self.body = nn.Sequential(*body)
        self.dense = nn.Linear(512 * 7 * 7, 512)

    def forward(self, pictures: Tensor) -> Tensor:
        embedding: Tensor = self.dense(self.body(pictures * 2 - 1).flatten(1))
        return embedding


class _Recognisers:
    """IRSE50, IR152, FaceNet and MobileFace by size."""

    def __init__(self, store: ModelStore, device: torch.device) -> None:
        torchvision_ops.define_missing_operators()
        from facenet_pytorch import InceptionResnetV1

        wide = Template(160, tuple((x * 160 / 112, y * 160 / 112) for x, y in TEMPLATE.points), TEMPLATE.mesh)
        networks = [
            (_Body((3, 4, 14, 3)), TEMPLATE),
            (_Body((3, 8, 36, 3)), TEMPLATE),
            (InceptionResnetV1(pretrained=None, classify=False), wide),
            (load_weights(MobileFace(), store.path("mobileface")), TEMPLATE),
        ]
        self._networks = [(n.eval().requires_grad_(False).to(device), template) for n, template in networks]

    def loss(self, picture: Tensor, mesh: Tensor, own: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        """Mean likeness to ``own``, and the embeddings."""
        made = [F.normalize(network(crop_chips(picture, mesh, template))) for network, template in self._networks]
        alike = [(a * b).sum() for a, b in zip(made, own or made, strict=True)]
        return torch.stack(alike).mean(), made


class _Clip:
    """An open_clip ViT-B/32 and the directional loss."""

    def __init__(self, device: torch.device) -> None:
        torchvision_ops.define_missing_operators()
        import open_clip

        self._model = open_clip.create_model("ViT-B-32", pretrained=None).eval().requires_grad_(False).to(device)
        self._direction = F.normalize(torch.randn(512, generator=torch.Generator().manual_seed(0)), dim=0).to(device)

    def embed(self, picture: Tensor) -> Tensor:
        made: Tensor = self._model.encode_image(F.interpolate(picture, (224, 224), mode="area"), normalize=True)
        return made

    def loss(self, before: Tensor, after: Tensor) -> Tensor:
        return 1 - F.cosine_similarity(self.embed(after) - before, self._direction[None]).mean()


# The plain loop.


def plain_synthesis(generator: Generator, codes: Tensor) -> Tensor:
    """(B, codes, style) to (B, 3, size, size), as a first reading of the paper would have it."""
    x = generator.constant[None].expand(len(codes), -1, -1, -1)
    picture: Tensor | None = None
    for at, layer in enumerate(generator.styled_layers()):
        x = _plain_layer(layer, x, codes[:, at])
        if at % 2 == 0:
            rgb = generator.rgbs[at // 2]
            assert isinstance(rgb, ToRgb)
            made = _modulated(x, rgb.weight, rgb.affine(codes[:, at + 1]), up=False, demodulate=False)
            made = made + rgb.bias[:, None, None]
            picture = made if picture is None else made + _filtered(picture, 2, (2, 1))
    assert picture is not None
    return picture


def _plain_layer(layer: StyledLayer, x: Tensor, w: Tensor) -> Tensor:
    x = _modulated(x, layer.weight, layer.affine(w), layer.upsample, demodulate=True)
    return F.leaky_relu(x + layer.noise * layer.noise_strength + layer.bias[:, None, None], 0.2) * 2**0.5


def _modulated(x: Tensor, weight: Tensor, style: Tensor, up: bool, demodulate: bool) -> Tensor:
    """Weights of their own for every picture of the batch, as groups of one convolution."""
    count, inputs, side, _ = x.shape
    own = weight[None] * style[:, None, :, None, None] / weight[0].numel() ** 0.5
    if demodulate:
        own = own * torch.rsqrt(own.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    outputs, kernel = own.shape[1], own.shape[3]
    x = x.reshape(1, count * inputs, side, side)
    if up:
        own = own.transpose(1, 2).reshape(count * inputs, outputs, kernel, kernel)
        made = F.conv_transpose2d(x, own, stride=2, groups=count)
        return _filtered(made.reshape(count, outputs, *made.shape[2:]), 1, (1, 1))
    made = F.conv2d(x, own.reshape(count * outputs, inputs, kernel, kernel), padding=kernel // 2, groups=count)
    return made.reshape(count, outputs, *made.shape[2:])


def _filtered(x: Tensor, up: int, pad: tuple[int, int]) -> Tensor:
    """Zeros between the pixels, then the filter [1, 3, 3, 1]."""
    count, channels, height, width = x.shape
    wide = x.new_zeros(count, channels, height, up, width, up)
    wide[:, :, :, 0, :, 0] = x
    padded = F.pad(wide.reshape(count, channels, height * up, width * up), (*pad, *pad))
    taps = x.new_tensor([0.25, 0.75, 0.75, 0.25])
    flat = padded.reshape(count * channels, 1, *padded.shape[2:])
    made = F.conv2d(flat, (taps[:, None] * taps)[None, None])
    return made.reshape(count, channels, *made.shape[2:])


def _seconds(step: Callable[[], object], count: int, device: torch.device) -> float:
    """Mean of ``count`` calls after a first one."""
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(count):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / count


def _learning(parameters: list[Tensor], loss: Callable[[], Tensor]) -> Callable[[], None]:
    optimiser = torch.optim.Adam(parameters, lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    return step


def measure(face: CanvasFace, store: ModelStore, timed: int) -> Speed:
    """Times both loops on one face."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    generator = Generator(FFHQ).eval().requires_grad_(False).to(device)
    encoder = Encoder(EncoderShape()).eval().requires_grad_(False).to(device)
    perceptual = Perceptual(store.path("faceres"), device)
    recognisers, clip = _Recognisers(store, device), _Clip(device)
    mesh = face.mesh[None].to(device)
    photo = face.pixels[None].to(device)
    with torch.no_grad():
        own, before = recognisers.loss(photo, mesh, None)[1], clip.embed(photo)

    def seen(picture: Tensor) -> Tensor:
        return recognisers.loss(picture, mesh, own)[0] + clip.loss(before, picture)

    # Ours: at 256 px, only the weights that reach it; the search through displacement and tone, as in the product.
    to_canvas = ffhq_transform(face.mesh.numpy(), 256)
    wanted = (2 * crop(face.pixels, to_canvas, 256).clamp(0, 1) - 1).to(device)
    goals = perceptual.features(wanted[None])
    none = InversionSettings(latent_steps=0, tuning_steps=0)
    inversion = invert(generator, encoder, wanted, torch.ones_like(wanted[:1]), perceptual, none)
    weights = {name: p.clone().requires_grad_() for name, p in tuned_parameters(generator).items()}

    with torch.no_grad():
        begun = generator.synthesise_layers(inversion.codes[None], frozen_layers(FFHQ.codes))

    def tuning_loss() -> Tensor:
        made = synthesise(generator, weights, inversion.codes[None], size=256, begun=begun)
        return F.mse_loss(made, wanted[None]) + perceptual.distance_to(made, goals)

    tuning = _seconds(_learning(list(weights.values()), tuning_loss), timed, device)
    mean_face = load_mean_face(store.path("complexion"))
    renderer = FaceRenderer(face, mean_face, compute_strength_limits(DEFAULT_STRENGTH), device)
    searched = WPlusFace(face, inversion, generator, principal_axes(generator), renderer, DEFAULT_STRENGTH)
    code = {name: part.requires_grad_() for name, part in searched.start().items()}

    def search_loss() -> Tensor:
        rendered = searched.render(code)
        held = searched.latent_loss(code, rendered) + searched.visibility_penalty(rendered)
        return seen(rendered.pixels[None]) + held

    search = _seconds(_learning(list(code.values()), search_loss), timed, device)

    # The plain loop: everything at 1024 px.
    large = F.interpolate(wanted[None], (1024, 1024), mode="bilinear")
    large_mesh = torch.from_numpy(_in_crop(face, 1024))[None].to(device)
    with torch.no_grad():
        large_own = recognisers.loss((large + 1) / 2, large_mesh, None)[1]
    codes = inversion.codes[None]
    every = [p.requires_grad_() for name, p in generator.named_parameters() if not name.startswith("mapping.")]

    def plain_tuning_loss() -> Tensor:
        made = plain_synthesis(generator, codes)
        return F.mse_loss(made, large) + perceptual.distance_to(made, goals)

    plain_tuning = _seconds(_learning(every, plain_tuning_loss), timed, device)
    generator.requires_grad_(False)
    fixed = fixed_rows(FFHQ.codes)
    free = codes[:, fixed:].clone().requires_grad_()

    def plain_search_loss() -> Tensor:
        made = (plain_synthesis(generator, torch.cat([codes[:, :fixed], free], 1)) + 1) / 2
        return recognisers.loss(made, large_mesh, large_own)[0] + clip.loss(before, made)

    plain_search = _seconds(_learning([free], plain_search_loss), timed, device)
    return Speed(
        device=torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads",
        tuning=tuning,
        search=search,
        plain_tuning=plain_tuning,
        plain_search=plain_search,
        face=TUNING * tuning + SEARCH * search,
        plain_face=TUNING * plain_tuning + SEARCH * plain_search,
        timed=timed,
        peak_mib=peak_mib(),
    )


def _in_crop(face: CanvasFace, side: int) -> NDArray[np.float32]:
    """(468, 2) float32 points of the mesh in the FFHQ-aligned square."""
    matrix = ffhq_transform(face.mesh.numpy(), side)
    return ((face.mesh.numpy() - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T).astype(np.float32)


def run(results: Path, timed: int, say: Callable[[str], None]) -> Path:
    """Times both loops on scikit-image's astronaut; writes and returns fullsize.json."""
    from skimage import data

    from c2p_core import verify
    from c2p_core.faces import find_faces
    from c2p_core.faces.landmarks import to_tensor
    from c2p_core.io.colour_profiles import to_srgb
    from c2p_core.photo import Photo

    store, photo = ModelStore(), Photo(data.astronaut())
    face = verify.crop_face(to_tensor(to_srgb(photo)), find_faces(photo, store)[0])
    speed = measure(CanvasFace(face.pixels, face.mesh), store, timed)
    say(
        f"{speed.device}: {speed.face:.0f} s a face, plain loop {speed.plain_face:.0f} s "
        f"({speed.plain_face / speed.face:.1f} times); a step of tuning {speed.tuning:.2f} s, plain "
        f"{speed.plain_tuning:.2f} s, of search {speed.search:.2f} s, plain {speed.plain_search:.2f} s"
    )
    path = results / FULLSIZE_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"code": fingerprint_code(), **asdict(speed)}, indent=1) + "\n", encoding="utf-8")
    return path
