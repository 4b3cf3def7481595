"""What the full profile takes of a graphics card for one face at 1024 px, counted on networks of the real sizes.

On the device "meta", tensors have shapes and no values, so that this takes no memory and no time. What is counted are
weights, and what one step keeps for its backward pass; what a backward pass itself needs is less than that again.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from c2p_core import torchvision_ops
from c2p_core.activations import is_weight
from c2p_core.models.store import ModelStore
from c2p_core.priors.inversion import frozen_layers, synthesise, tuned_parameters, working_side
from c2p_core.priors.perceptual import Perceptual
from c2p_core.priors.stylegan2 import FFHQ, Encoder, EncoderShape, Generator
from c2p_core.recognition import facenet, load_architecture

GIGABYTE = 10**9
BUDGET = 8 * GIGABYTE
META = torch.device("meta")


def count_weights(*networks: nn.Module) -> int:
    tensors = [tensor for network in networks for tensor in network.state_dict().values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def count_saved(compute: Callable[[], Tensor]) -> int:
    """Bytes that a computation keeps for its backward pass, weights left out."""
    sizes: dict[int, int] = {}

    def pack(saved: Tensor) -> Tensor:
        if not is_weight(saved):
            storage = saved.untyped_storage()
            sizes[storage._cdata] = storage.nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        output = compute()
    assert output.requires_grad
    return sum(sizes.values())


@pytest.fixture(scope="module")
def generator() -> Generator:
    with META:
        return Generator(FFHQ).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def clip() -> nn.Module:
    torchvision_ops.define_missing_operators()
    import open_clip

    with META:
        return open_clip.model.CLIP(**open_clip.get_model_config("ViT-B-32")).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def weights(generator: Generator, clip: nn.Module) -> int:
    """Of everything that is loaded: generator, e4e, the text model, and recognisers as large as they may be."""
    with META:
        encoder = Encoder(EncoderShape())
    recognisers = [entry for entry in ModelStore(offline=True).catalogue() if entry.role == "recogniser"]
    recogniser_bytes = sum(entry.size for entry in recognisers if entry.profile in ("embedded", "full"))
    # The files of these networks are as large as they are themselves; that of e4e has the generator in it too.
    assert abs(count_weights(generator, encoder) - 1.2 * GIGABYTE) < 0.1 * GIGABYTE
    return count_weights(generator, encoder, clip) + recogniser_bytes


@pytest.fixture(scope="module")
def steps(clip: nn.Module) -> dict[str, int]:
    """Bytes that the text model and each recogniser keep of one face for their backward pass, by name."""
    picture = torch.empty(1, 3, 224, 224, device=META, requires_grad=True)
    bytes_by_network = {"clip": count_saved(lambda: clip.encode_image(picture, normalize=True))}
    for entry in ModelStore(offline=True).catalogue():
        # That of SFace is in its file, which is a tenth of the largest.
        if entry.role != "recogniser" or entry.profile not in ("embedded", "full") or entry.name == "sface":
            continue
        architecture = load_architecture(entry)
        with META:
            network = (architecture.make or facenet.make_network)().eval().requires_grad_(False)
        side = architecture.template.size
        chips = torch.empty(1, 3, side, side, device=META, requires_grad=True)
        bytes_by_network[entry.name] = count_saved(lambda network=network, chips=chips: network(chips))
    return bytes_by_network


def test_tuning_the_generator_to_a_face_stays_within_the_budget(generator: Generator, weights: int) -> None:
    codes = torch.empty(1, FFHQ.codes, FFHQ.style, device=META)
    tuned = {name: part.clone().requires_grad_() for name, part in tuned_parameters(generator).items()}
    partial = generator.synthesise_layers(codes, frozen_layers(FFHQ.codes))
    side = working_side(generator)
    assert side == 256
    saved = count_saved(lambda: synthesise(generator, tuned, codes, size=side, partial=partial))
    # The tuned weights with their gradients and Adam's two means.
    state = 4 * sum(part.numel() * part.element_size() for part in tuned.values())
    assert 0.05 * GIGABYTE < saved < 2 * GIGABYTE
    perceptual = Perceptual(ModelStore(offline=True).obtain("faceres"), META)
    goals = perceptual.features(torch.empty(1, 3, side, side, device=META))
    picture = torch.empty(1, 3, side, side, device=META, requires_grad=True)
    compared = count_saved(lambda: perceptual.distance_to(picture, goals))
    assert compared > 0.001 * GIGABYTE
    assert weights + state + 2 * (saved + compared) < BUDGET


def test_a_step_of_the_search_stays_within_the_budget(
    generator: Generator, weights: int, steps: dict[str, int]
) -> None:
    codes = torch.empty(1, FFHQ.codes, FFHQ.style, device=META, requires_grad=True)
    partial = generator.synthesise_layers(codes.detach(), frozen_layers(FFHQ.codes))
    saved = count_saved(lambda: generator(codes, size=128, partial=partial))
    # What is recorded keeps its memory, of all networks at once.
    assert weights + 2 * (saved + sum(steps.values())) < BUDGET
    # Eight faces in a batch fit, too, one network after the other.
    assert weights + 8 * 2 * (saved + max(steps.values())) < BUDGET
