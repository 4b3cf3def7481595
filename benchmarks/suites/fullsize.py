"""Full size: StyleGAN2 at 1024 px, the paper's four recognisers and CLIP ViT-B/32, against a plain loop.

The real weights are not available everywhere, and speed does not depend on their values: the networks are the product's
own, as it runs them on this device, with random weights. The plain loop implements the paper naively: weights modulated
for each picture, upsampling by inserted zeros, the whole picture in every step, all weights tuned, all recognisers in
each step, float32 without CUDA graphs. A step of each kind is timed, both loops in one process, ours first, and
multiplied by the steps of the paper.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.fingerprint import fingerprint_code
from benchmarks.metrics.memory import peak_mib
from benchmarks.rows import FULLSIZE_FILE
from c2p_core import torchvision_ops
from c2p_core.accelerated import Forward, accelerate, move_network
from c2p_core.api import DEFAULT_STRENGTH
from c2p_core.compute_plan import plan_attempts
from c2p_core.device import begin_measuring, measure_peak_memory, name_device, pick_device, release_memory
from c2p_core.faces.align import crop
from c2p_core.faces.canonical import load_mean_face
from c2p_core.faces.canvas import CanvasFace
from c2p_core.models.store import ModelStore
from c2p_core.priors.inversion import (
    Inversion,
    InversionSettings,
    ffhq_transform,
    fixed_rows,
    frozen_layers,
    invert,
    synthesise,
    tuned_parameters,
    working_side,
)
from c2p_core.priors.perceptual import Perceptual
from c2p_core.priors.renderer import FaceRenderer
from c2p_core.priors.strength import compute_strength_limits
from c2p_core.priors.stylegan2 import FFHQ, Encoder, EncoderShape, Generator, StyledLayer, ToRgb
from c2p_core.priors.wplus import WPlusFace, principal_axes
from c2p_core.recognition import embed_with, facenet, load_architecture
from c2p_core.recognition.alignment import Template

TUNING, SEARCH = 150, 50
_RECOGNISERS = ("irse50", "ir152", "facenet", "mobileface-amt")
# Warm-up steps: on a GPU, CUDA graphs are recorded meanwhile.
_WARM_UP, _WARM_UP_ON_GPU = 1, 20


@dataclass(frozen=True)
class Speed:
    """Seconds per step and per face.

    Attributes:
        device: its name.
        tuning, search: seconds per step of ours.
        plain_tuning, plain_search: of the plain loop.
        face, plain_face: seconds for the paper's steps.
        timed: number of timed steps of each kind.
        host_mib: high-water mark of the process's memory before the plain loop; plain_host_mib after it.
        gpu_mib, plain_gpu_mib: peak GPU memory of each of the two loops; None without a GPU.
    """

    device: str
    tuning: float
    search: float
    plain_tuning: float
    plain_search: float
    face: float
    plain_face: float
    timed: int
    host_mib: float
    plain_host_mib: float
    gpu_mib: float | None
    plain_gpu_mib: float | None


@dataclass(frozen=True)
class Networks:
    """The networks with random weights, on the device.

    Attributes:
        generator, encoder: with codes of the same shape.
        recognisers: networks with their alignments.
        clip: an open_clip model.
    """

    generator: Generator
    encoder: Encoder
    recognisers: tuple[tuple[nn.Module, Template], ...]
    clip: Any


def build_networks(store: ModelStore, device: torch.device) -> Networks:
    """The networks of the paper, placed on the device as the product places them."""
    torchvision_ops.define_missing_operators()
    import open_clip

    recognisers = []
    for name in _RECOGNISERS:
        architecture = load_architecture(store.entry(name))
        network = facenet.FaceNet(facenet.make_network()) if architecture.make is None else architecture.make()
        calibrate_batch_norms(network, architecture.template.size)
        recognisers.append((move_network(network, device), architecture.template))
    return Networks(
        move_network(Generator(FFHQ), device),
        move_network(Encoder(EncoderShape()), device),
        tuple(recognisers),
        move_network(open_clip.create_model("ViT-B-32", pretrained=None), device),
    )


@torch.no_grad()
def calibrate_batch_norms(network: nn.Module, side: int) -> None:
    """Set batch normalisation statistics from noise; else activations of random weights are too small for float16."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.momentum = 1.0
    network.train()(torch.rand(4, 3, side, side))


class _LossNetworks:
    """The recognisers and the text model, as one of the loops runs them."""

    def __init__(self, networks: Networks, run: Callable[[Forward], Forward]) -> None:
        """``run``: wraps a network's forward function."""
        self._embeds = [embed_with(run(network), template) for network, template in networks.recognisers]
        clip = networks.clip
        self._encode = run(lambda pictures: clip.encode_image(pictures, normalize=True))
        direction = torch.randn(512, generator=torch.Generator().manual_seed(0))
        self._direction = F.normalize(direction, dim=0).to(next(clip.parameters()).device)

    def embed(self, picture: Tensor, mesh: Tensor) -> list[Tensor]:
        return [embed(picture, mesh) for embed in self._embeds]

    def encode_picture(self, picture: Tensor) -> Tensor:
        return self._encode(F.interpolate(picture, (224, 224), mode="area"))

    def loss(self, picture: Tensor, mesh: Tensor, original: list[Tensor], before: Tensor) -> Tensor:
        """Mean similarity to ``original``, plus the directional loss relative to ``before``."""
        cosines = [(a * b).sum() for a, b in zip(self.embed(picture, mesh), original, strict=True)]
        directional = F.cosine_similarity(self.encode_picture(picture) - before, self._direction[None]).mean()
        return torch.stack(cosines).mean() + 1 - directional


# The plain loop.


def synthesise_plainly(generator: Generator, codes: Tensor) -> Tensor:
    """Synthesise (B, codes, style) to (B, 3, size, size), naively."""
    x = generator.constant[None].expand(len(codes), -1, -1, -1)
    picture: Tensor | None = None
    for index, layer in enumerate(generator.styled_layers()):
        x = _run_plain_layer(layer, x, codes[:, index])
        if index % 2 == 0:
            rgb = generator.rgbs[index // 2]
            assert isinstance(rgb, ToRgb)
            rgb_output = _modulated_conv(x, rgb.weight, rgb.affine(codes[:, index + 1]), up=False, demodulate=False)
            rgb_output = rgb_output + rgb.bias[:, None, None]
            picture = rgb_output if picture is None else rgb_output + _upsample_and_filter(picture, 2, (2, 1))
    assert picture is not None
    return picture


def _run_plain_layer(layer: StyledLayer, x: Tensor, w: Tensor) -> Tensor:
    x = _modulated_conv(x, layer.weight, layer.affine(w), layer.upsample, demodulate=True)
    return F.leaky_relu(x + layer.noise * layer.noise_strength + layer.bias[:, None, None], 0.2) * 2**0.5


def _modulated_conv(x: Tensor, weight: Tensor, style: Tensor, up: bool, demodulate: bool) -> Tensor:
    """Modulated convolution with separate weights for every picture of the batch, as groups of one convolution."""
    count, inputs, side, _ = x.shape
    weights = weight[None] * style[:, None, :, None, None] / weight[0].numel() ** 0.5
    if demodulate:
        weights = weights * torch.rsqrt(weights.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    outputs, kernel = weights.shape[1], weights.shape[3]
    x = x.reshape(1, count * inputs, side, side)
    if up:
        weights = weights.transpose(1, 2).reshape(count * inputs, outputs, kernel, kernel)
        result = F.conv_transpose2d(x, weights, stride=2, groups=count)
        return _upsample_and_filter(result.reshape(count, outputs, *result.shape[2:]), 1, (1, 1))
    result = F.conv2d(x, weights.reshape(count * outputs, inputs, kernel, kernel), padding=kernel // 2, groups=count)
    return result.reshape(count, outputs, *result.shape[2:])


def _upsample_and_filter(x: Tensor, up: int, pad: tuple[int, int]) -> Tensor:
    """Insert zeros between the pixels, then apply the filter [1, 3, 3, 1]."""
    count, channels, height, width = x.shape
    upsampled = x.new_zeros(count, channels, height, up, width, up)
    upsampled[:, :, :, 0, :, 0] = x
    padded = F.pad(upsampled.reshape(count, channels, height * up, width * up), (*pad, *pad))
    taps = x.new_tensor([0.25, 0.75, 0.75, 0.25])
    flat = padded.reshape(count * channels, 1, *padded.shape[2:])
    filtered = F.conv2d(flat, (taps[:, None] * taps)[None, None])
    return filtered.reshape(count, channels, *filtered.shape[2:])


def _time_step(step: Callable[[], object], count: int, device: torch.device) -> float:
    """Mean seconds of ``count`` calls after a warm-up."""
    for _ in range(_WARM_UP if device.type == "cpu" else _WARM_UP_ON_GPU):
        step()
    _synchronise(device)
    start = time.perf_counter()
    for _ in range(count):
        step()
    _synchronise(device)
    return (time.perf_counter() - start) / count


def _synchronise(device: torch.device) -> None:
    """Wait until the GPU has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def _make_adam_step(parameters: list[Tensor], loss: Callable[[], Tensor]) -> Callable[[], None]:
    optimiser = torch.optim.Adam(parameters, lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    return step


def measure(face: CanvasFace, store: ModelStore, timed: int, networks: Networks, device: torch.device) -> Speed:
    """Times both loops on one face, with networks on this device."""
    begin_measuring(device)
    perceptual = Perceptual(store.obtain("faceres"), device)
    inversion, tuning, search = _measure_ours(face, store, timed, networks, perceptual, device)
    host_mib, gpu_bytes = peak_mib(), measure_peak_memory(device)
    # Only the networks are left: CUDA graphs were released with the functions that replayed them.
    release_memory()
    begin_measuring(device)
    plain_tuning, plain_search = _measure_plain(face, timed, networks, perceptual, inversion, device)
    plain_gpu_bytes = measure_peak_memory(device)
    return Speed(
        device=name_device(device) or f"{torch.get_num_threads()} CPU threads",
        tuning=tuning,
        search=search,
        plain_tuning=plain_tuning,
        plain_search=plain_search,
        face=TUNING * tuning + SEARCH * search,
        plain_face=TUNING * plain_tuning + SEARCH * plain_search,
        timed=timed,
        host_mib=host_mib,
        plain_host_mib=peak_mib(),
        gpu_mib=None if gpu_bytes is None else gpu_bytes / 2**20,
        plain_gpu_mib=None if plain_gpu_bytes is None else plain_gpu_bytes / 2**20,
    )


def _measure_ours(
    face: CanvasFace,
    store: ModelStore,
    timed: int,
    networks: Networks,
    perceptual: Perceptual,
    device: torch.device,
) -> tuple[Inversion, float, float]:
    """The face's inversion, and seconds per step of tuning and of search.

    As in the product: tuning at 256 px, only of the weights that affect it; the search through displacement and tone.
    """
    generator, shape = networks.generator, networks.generator.shape
    target = _crop_face(face, working_side(generator)).to(device)
    target_features = perceptual.features(target[None])
    no_steps = InversionSettings(latent_steps=0, tuning_steps=0)
    inversion = invert(generator, networks.encoder, target, torch.ones_like(target[:1]), perceptual, no_steps)
    weights = {name: p.clone().requires_grad_() for name, p in tuned_parameters(generator).items()}
    with torch.no_grad():
        fixed_layers = generator.synthesise_layers(inversion.codes[None], frozen_layers(shape.codes))

    def tuning_loss() -> Tensor:
        synthesised = synthesise(generator, weights, inversion.codes[None], size=target.shape[2], partial=fixed_layers)
        return F.mse_loss(synthesised, target[None]) + perceptual.distance_to(synthesised, target_features)

    tuning = _time_step(_make_adam_step(list(weights.values()), tuning_loss), timed, device)
    recorded = plan_attempts(device, 1)[0].plan.recorded
    loss_networks = _LossNetworks(networks, lambda forward: accelerate(forward, device, recorded))
    mesh, photo = face.mesh[None].to(device), face.pixels[None].to(device)
    with torch.no_grad():
        original_embeddings, original_encoding = loss_networks.embed(photo, mesh), loss_networks.encode_picture(photo)
    renderer = FaceRenderer(
        CanvasFace(photo[0], mesh[0]),
        load_mean_face(store.obtain("complexion")),
        compute_strength_limits(DEFAULT_STRENGTH),
        device,
    )
    wplus_face = WPlusFace(face, inversion, generator, principal_axes(generator), renderer, DEFAULT_STRENGTH)
    parameters = {name: part.requires_grad_() for name, part in wplus_face.start().items()}

    def search_loss() -> Tensor:
        rendered = wplus_face.render(parameters)
        regularisation = wplus_face.latent_loss(parameters, rendered) + wplus_face.visibility_penalty(rendered)
        return loss_networks.loss(rendered.pixels[None], mesh, original_embeddings, original_encoding) + regularisation

    return inversion, tuning, _time_step(_make_adam_step(list(parameters.values()), search_loss), timed, device)


def _measure_plain(
    face: CanvasFace,
    timed: int,
    networks: Networks,
    perceptual: Perceptual,
    inversion: Inversion,
    device: torch.device,
) -> tuple[float, float]:
    """Seconds per step of tuning and of search, everything at the generator's full size."""
    generator, side = networks.generator, networks.generator.shape.size
    target = _crop_face(face, working_side(generator))[None].to(device)
    target_features = perceptual.features(target)
    loss_networks = _LossNetworks(networks, lambda forward: forward)
    large = F.interpolate(target, (side, side), mode="bilinear")
    mesh = torch.from_numpy(_map_mesh_to_crop(face, side))[None].to(device)
    with torch.no_grad():
        original_embeddings, original_encoding = (
            loss_networks.embed((large + 1) / 2, mesh),
            loss_networks.encode_picture((large + 1) / 2),
        )
    codes = inversion.codes[None]
    parameters = [p.requires_grad_() for name, p in generator.named_parameters() if not name.startswith("mapping.")]

    def tuning_loss() -> Tensor:
        synthesised = synthesise_plainly(generator, codes)
        return F.mse_loss(synthesised, large) + perceptual.distance_to(synthesised, target_features)

    tuning = _time_step(_make_adam_step(parameters, tuning_loss), timed, device)
    generator.requires_grad_(False)
    fixed = fixed_rows(generator.shape.codes)
    free = codes[:, fixed:].clone().requires_grad_()

    def search_loss() -> Tensor:
        synthesised = (synthesise_plainly(generator, torch.cat([codes[:, :fixed], free], 1)) + 1) / 2
        return loss_networks.loss(synthesised, mesh, original_embeddings, original_encoding)

    return tuning, _time_step(_make_adam_step([free], search_loss), timed, device)


def _crop_face(face: CanvasFace, side: int) -> Tensor:
    """(3, side, side) FFHQ-aligned, -1..1."""
    to_canvas = ffhq_transform(face.mesh.numpy(), side)
    return 2 * crop(face.pixels, to_canvas, side).clamp(0, 1) - 1


def _map_mesh_to_crop(face: CanvasFace, side: int) -> NDArray[np.float32]:
    """(468, 2) float32 points of the mesh in the FFHQ-aligned square."""
    matrix = ffhq_transform(face.mesh.numpy(), side)
    return ((face.mesh.numpy() - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T).astype(np.float32)


def run(results: Path, timed: int, log: Callable[[str], None]) -> Path:
    """Times both loops on scikit-image's astronaut; writes and returns fullsize.json."""
    from skimage import data

    from c2p_core import verify
    from c2p_core.faces import find_faces
    from c2p_core.faces.landmarks import to_tensor
    from c2p_core.io.colour_profiles import to_srgb
    from c2p_core.photo import Photo

    store, photo = ModelStore(), Photo(data.astronaut())
    face = verify.crop_face(to_tensor(to_srgb(photo)), find_faces(photo, store)[0])
    device = pick_device("auto")
    torch.manual_seed(0)
    speed = measure(CanvasFace(face.pixels, face.mesh), store, timed, build_networks(store, device), device)
    log(
        f"{speed.device}: {speed.face:.0f} s a face, plain loop {speed.plain_face:.0f} s "
        f"({speed.plain_face / speed.face:.1f} times); a step of tuning {speed.tuning:.2f} s, plain "
        f"{speed.plain_tuning:.2f} s, of search {speed.search:.2f} s, plain {speed.plain_search:.2f} s"
        + ("" if speed.gpu_mib is None else f"; {speed.gpu_mib:.0f} MiB of the card, plain {speed.plain_gpu_mib:.0f}")
    )
    path = results / FULLSIZE_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"code": fingerprint_code(), **asdict(speed)}, indent=1) + "\n", encoding="utf-8")
    return path
