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
from c2p_core.priors.stylegan2 import FFHQ, Encoder, EncoderShape, Generator

GIGABYTE = 10**9
BUDGET = 8 * GIGABYTE
META = torch.device("meta")


def count_weights(*networks: nn.Module) -> int:
    tensors = [tensor for network in networks for tensor in network.state_dict().values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def count_saved(compute: Callable[[], Tensor]) -> int:
    """Bytes that a computation keeps for its backward pass, weights left out."""
    kept: dict[int, int] = {}

    def pack(saved: Tensor) -> Tensor:
        if not is_weight(saved):
            storage = saved.untyped_storage()
            kept[storage._cdata] = storage.nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        made = compute()
    assert made.requires_grad
    return sum(kept.values())


@pytest.fixture(scope="module")
def generator() -> Generator:
    with META:
        return Generator(FFHQ).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def weights(generator: Generator) -> int:
    """Of everything that is loaded: generator, e4e, the text model, and recognisers as large as they may be."""
    torchvision_ops.define_missing_operators()
    import open_clip

    with META:
        encoder = Encoder(EncoderShape())
        clip = open_clip.model.CLIP(**open_clip.get_model_config("ViT-B-32"))
    recognisers = [entry for entry in ModelStore(offline=True).catalogue() if entry.role == "recogniser"]
    taken = sum(entry.size for entry in recognisers if entry.profile in ("embedded", "full"))
    # The files of these networks are as large as they are themselves; that of e4e has the generator in it too.
    assert abs(count_weights(generator, encoder) - 1.2 * GIGABYTE) < 0.1 * GIGABYTE
    return count_weights(generator, encoder, clip) + taken


def test_tuning_the_generator_to_a_face_stays_within_the_budget(generator: Generator, weights: int) -> None:
    codes = torch.empty(1, FFHQ.codes, FFHQ.style, device=META)
    tuned = {name: part.clone().requires_grad_() for name, part in tuned_parameters(generator).items()}
    begun = generator.synthesise_layers(codes, frozen_layers(FFHQ.codes))
    side = working_side(generator)
    assert side == 256
    saved = count_saved(lambda: synthesise(generator, tuned, codes, size=side, begun=begun))
    # The tuned weights with their gradients and Adam's two means.
    state = 4 * sum(part.numel() * part.element_size() for part in tuned.values())
    assert 0.05 * GIGABYTE < saved < 2 * GIGABYTE
    assert weights + state + 2 * saved < BUDGET


def test_a_step_of_the_search_stays_within_the_budget(generator: Generator, weights: int) -> None:
    codes = torch.empty(1, FFHQ.codes, FFHQ.style, device=META, requires_grad=True)
    begun = generator.synthesise_layers(codes.detach(), frozen_layers(FFHQ.codes))
    saved = count_saved(lambda: generator(codes, size=128, begun=begun))
    # Eight faces in a batch fit, too.
    assert weights + 8 * 2 * saved < BUDGET
