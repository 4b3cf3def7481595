"""The terms of the search's loss, in the order and under the names of CLIP2Protect (section 3).

    L = L_adv + lambda_clip * L_clip + lambda_latent * L_latent + lambda_visibility * L_visibility

The last term is not in the paper: it is 0 as long as the change is no more visible than the strength allows. ``search``
adds the terms up; each prior supplies the inputs of the last two.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Extra slope while a recogniser still matches, relative to the slope while only the margin is missing.
_STILL_MATCHES = 3.0
# Changes of the CLIP embedding shorter than this have no reliable direction.
_SMALLEST_CHANGE = 0.03
_STRAIN_WEIGHT = 10.0


def adversarial_loss(
    similarity: Tensor, decoy_similarity: Tensor | None, far1: float, impostor_std: float, margin: float
) -> Tensor:
    """L_adv of one recogniser: 0 once the similarity is below the threshold by the margin; steeper above the threshold.

    Args:
        similarity: scalar cosine similarity to the person.
        decoy_similarity: scalar cosine similarity to the decoy; None when dodging.
        far1: the recogniser's threshold at FAR 1 %.
        impostor_std: standard deviation of its similarity over impostor pairs.
        margin: how far below the threshold the similarity has to fall, in units of ``impostor_std``; the similarity to
            a decoy has to rise half as far above it.
    """
    goal = far1 - margin * impostor_std
    loss = (torch.relu(similarity - goal) + _STILL_MATCHES * torch.relu(similarity - far1)) / (1.0 - goal)
    if decoy_similarity is not None:
        decoy_goal = far1 + 0.5 * margin * impostor_std
        loss = 0.5 * loss + 0.5 * torch.relu((decoy_goal - decoy_similarity) / decoy_goal)
    return loss


def clip_loss(before: Tensor, after: Tensor, direction: Tensor) -> Tensor:
    """L_clip, the directional loss (StyleGAN-NADA): 1 - cosine between the change of the picture and that of the text.

    Args:
        before: (B, D) embeddings of the unchanged pictures.
        after: (B, D) embeddings of the changed ones.
        direction: (D,) unit vector, the direction of the change of text.

    Returns:
        scalar in 0..2, the mean over pictures: 1 for an unchanged picture, 0 for a change exactly in the direction of
        the text.
    """
    change = after - before
    length = torch.sqrt((change * change).sum(1) + _SMALLEST_CHANGE**2)
    return (1.0 - change @ direction / length).mean()


def latent_loss(whitened: Sequence[Tensor], bending: Tensor) -> Tensor:
    """L_latent: how unlikely a code is under its prior.

    Args:
        whitened: the parts of the code for which a distribution was learned, as the difference from the face's own code
            in standard deviations.
        bending: scalar bending energy of the displacement, for which no distribution was learned.
    """
    return sum((part.square().mean() for part in whitened), bending.new_zeros(())) + bending


def visibility_penalty(ratios: Tensor, strain_excess: Tensor) -> Tensor:
    """L_visibility: by how much the visibility of a change exceeds its limits; 0 within them.

    Args:
        ratios: (N,) measures of the change, each divided by its limit.
        strain_excess: scalar, mean squared excess of the skin's strain, in units of its limit.
    """
    return torch.relu(ratios - 1.0).square().sum() + _STRAIN_WEIGHT * strain_excess
