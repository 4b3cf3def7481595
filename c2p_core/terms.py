"""The terms of the search's loss as tasks, which are computed for several faces at once where a term allows it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from c2p_core.guidance.clip import TextGuidance
from c2p_core.losses import adversarial_loss, clip_loss
from c2p_core.priors.prior import InvertedFace, Rendered
from c2p_core.recognition import Recogniser

Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Target:
    """What the search moves a face away from and, in decoy mode, towards.

    Attributes:
        original: per recogniser name, (D,) unit embedding of the unchanged face.
        decoy: per recogniser name, (D,) unit embedding of the synthetic identity; empty when dodging. Recognisers that
            it lacks are only dodged.
        away: per recogniser name, (N, D) unit embeddings of further pictures that the face must not match, such as
            protected photos of the person; recognisers that it lacks have none.
    """

    original: dict[str, Tensor]
    decoy: dict[str, Tensor]
    away: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Adversarial:
    """L_adv of one recogniser; its inputs are a (3, H, W) picture and (468, 2) landmarks in it."""

    recogniser: Recogniser
    target: Target
    margin: float

    @property
    def batch(self) -> Hashable:
        """Equal for terms that can be computed together."""
        return Adversarial, self.recogniser.name

    @staticmethod
    def compute_losses(terms: Sequence[Adversarial], inputs: Sequence[Inputs]) -> list[Tensor]:
        """The () loss of each term; the recogniser sees their pictures as one batch."""
        pixels, mesh = (torch.stack(parts) for parts in zip(*inputs, strict=True))
        embeddings = terms[0].recogniser.embed(pixels, mesh)
        return [term._compute_loss(embedding) for term, embedding in zip(terms, embeddings, strict=True)]

    def _compute_loss(self, embedding: Tensor) -> Tensor:
        recogniser, target = self.recogniser, self.target
        similarity = embedding @ target.original[recogniser.name]
        decoy = target.decoy.get(recogniser.name)
        decoy_similarity = None if decoy is None else embedding @ decoy
        far1, impostor_std = recogniser.far1, recogniser.impostor_std
        loss = adversarial_loss(similarity, decoy_similarity, far1, impostor_std, self.margin)
        away = target.away.get(recogniser.name)
        if away is None:
            return loss
        # Only the nearest one: a face search would return it first.
        return loss + adversarial_loss((away @ embedding).max(), None, far1, impostor_std, self.margin)


@dataclass(frozen=True)
class Text:
    """The inputs of L_clip for one face.

    Attributes:
        guidance: the text model.
        before: (1, D) embedding of the unchanged face.
        direction: (D,) unit vector of the change of text.
        grid: of the face, see ``TextGuidance.sampling_grid``.
        weight: lambda_clip.
    """

    guidance: TextGuidance
    before: Tensor
    direction: Tensor
    grid: Tensor
    weight: float


@dataclass(frozen=True)
class Naturalness:
    """The weighted sum of L_visibility and L_clip; its inputs are the fields of ``Rendered``."""

    inverted: InvertedFace
    weight: float
    text: Text | None

    @property
    def batch(self) -> Hashable:
        """Equal for terms that can be computed together."""
        return Naturalness, None if self.text is None else id(self.text.guidance)

    @staticmethod
    def compute_losses(terms: Sequence[Naturalness], inputs: Sequence[Inputs]) -> list[Tensor]:
        """The () loss of each term; the text model sees their pictures as one batch."""
        penalties = [
            t.weight * t.inverted.visibility_penalty(Rendered(*fields)) for t, fields in zip(terms, inputs, strict=True)
        ]
        texts = [term.text for term in terms if term.text is not None]
        if not texts:
            return penalties
        grids = torch.stack([text.grid for text in texts])
        after = texts[0].guidance.embed(torch.stack([pixels for pixels, *_ in inputs]), grids)
        return [
            penalty + text.weight * clip_loss(text.before, embedded[None], text.direction)
            for penalty, text, embedded in zip(penalties, texts, after, strict=True)
        ]


@dataclass(frozen=True)
class Task:
    """A term to be computed.

    Attributes:
        term: the term.
        inputs: of the term.
        differentiated: whether its gradients are wanted too.
    """

    term: Adversarial | Naturalness
    inputs: Inputs
    differentiated: bool = True

    @property
    def batch(self) -> Hashable:
        """Equal for tasks that can be computed together."""
        return self.term.batch, self.differentiated


@dataclass(frozen=True)
class Outcome:
    """The value of a term, and its gradients with respect to its inputs."""

    loss: float
    gradients: Inputs


def compute_together(tasks: Sequence[Task]) -> list[Outcome]:
    """Compute tasks of one ``batch``."""
    if not tasks[0].differentiated:
        with torch.no_grad():
            return [
                Outcome(value, ()) for value in _read_values(_compute_losses(tasks, [task.inputs for task in tasks]))
            ]
    leaves = [tuple(part.detach().requires_grad_() for part in task.inputs) for task in tasks]
    losses = _compute_losses(tasks, leaves)
    # No loss depends on the inputs of another, so the gradients of their sum are those of each.
    total = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
    gradients = iter(torch.autograd.grad(total, [leaf for inputs in leaves for leaf in inputs], materialize_grads=True))
    values = _read_values(losses)
    return [
        Outcome(value, tuple(next(gradients) for _ in inputs)) for value, inputs in zip(values, leaves, strict=True)
    ]


def _read_values(losses: Sequence[Tensor]) -> list[float]:
    """Read values; synchronises with a graphics card once."""
    values: list[float] = torch.stack([loss.detach() for loss in losses]).cpu().tolist()
    return values


def _compute_losses(tasks: Sequence[Task], inputs: Sequence[Inputs]) -> list[Tensor]:
    terms = [task.term for task in tasks]
    losses: list[Tensor] = type(terms[0]).compute_losses(terms, inputs)  # type: ignore[arg-type]  # all of one class
    return losses
