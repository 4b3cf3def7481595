"""The terms of the search's loss, in the order and under the names of CLIP2Protect (section 3).

    L = L_adv + lambda_clip * L_clip + lambda_latent * L_latent + lambda_visibility * L_visibility

The last term is our own: it is 0 until the change is more visible than the strength allows. ``search`` adds them up;
each prior says what enters the last two.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# How much more weight a recogniser has that still matches, beside those that only lack the margin.
_STILL_MATCHES = 3.0
# Changes of the CLIP embedding that are shorter than this have no reliable direction yet.
_SMALLEST_CHANGE = 0.03
_STRAIN_WEIGHT = 10.0


def adversarial_loss(
    similarity: Tensor, decoy_similarity: Tensor | None, far1: float, impostor_std: float, margin: float
) -> Tensor:
    """L_adv of one recogniser: 0 when it is fooled with the margin; steeper as long as it still matches.

    Args:
        similarity: scalar cosine similarity to the person.
        decoy_similarity: the same to the decoy; None when dodging.
        far1: the recogniser's threshold at FAR 1 %.
        impostor_std: standard deviation of its similarity over impostor pairs.
        margin: how far below the threshold the similarity has to fall, in ``impostor_std``; above it, for a decoy, half
            as far.
    """
    goal = far1 - margin * impostor_std
    loss = (torch.relu(similarity - goal) + _STILL_MATCHES * torch.relu(similarity - far1)) / (1.0 - goal)
    if decoy_similarity is not None:
        decoy_goal = far1 + 0.5 * margin * impostor_std
        loss = 0.5 * loss + 0.5 * torch.relu((decoy_goal - decoy_similarity) / decoy_goal)
    return loss


def clip_loss(before: Tensor, after: Tensor, direction: Tensor) -> Tensor:
    """L_clip, the directional loss (StyleGAN-NADA): 1 - cosine of the change in the picture and in the text.

    Args:
        before: (B, D) embeddings of the unchanged pictures.
        after: (B, D) embeddings of the changed ones.
        direction: (D,) unit direction of the text.

    Returns:
        scalar, the mean over pictures: 1 without a change, 0 when the picture changes exactly as the text says, at
        most 2.
    """
    change = after - before
    length = torch.sqrt((change * change).sum(1) + _SMALLEST_CHANGE**2)
    return (1.0 - change @ direction / length).mean()


def latent_loss(whitened: Sequence[Tensor], bending: Tensor) -> Tensor:
    """L_latent: how unlikely a code is under its prior.

    Args:
        whitened: the parts of the code that are a learned model's, in standard deviations from the face's own.
        bending: scalar energy of the displacement, for which no distribution was learned.
    """
    return sum((part.square().mean() for part in whitened), bending.new_zeros(())) + bending


def visibility_penalty(ratios: Tensor, overstretched: Tensor) -> Tensor:
    """L_visibility: by how much a change is more visible than the strength allows; 0 within the limits.

    Args:
        ratios: (N,) measures of the change, each divided by its limit.
        overstretched: scalar, mean squared excess of the skin's strain, in units of its limit.
    """
    return torch.relu(ratios - 1.0).square().sum() + _STRAIN_WEIGHT * overstretched
