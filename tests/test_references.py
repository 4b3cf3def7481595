"""Other photos of the person: the search moves away from their mean, and the report counts what they lose."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.api import FaceReport, Similarity
from c2p_core.io.report import describe_face_report
from c2p_core.references import average_embeddings, select_same_person
from c2p_core.verify import Embeddings


@dataclass(frozen=True)
class Recogniser:
    name: str
    far1: float = 0.5


RECOGNISERS = (Recogniser("a"), Recogniser("b"), Recogniser("c"))


def embeddings(*similarities: float) -> Embeddings:
    """Unit vectors with the given similarities to the first axis."""
    return {
        recogniser.name: torch.tensor([s, (1 - s * s) ** 0.5])
        for recogniser, s in zip(RECOGNISERS, similarities, strict=True)
    }


def test_a_reference_shows_the_person_if_most_recognisers_match_it() -> None:
    original, by_most, by_few = (
        embeddings(1, 1, 1),
        embeddings(0.6, 0.2, 0.9),
        embeddings(0.4, 0.9, 0.1),
    )
    assert select_same_person(original, (by_most, by_few), RECOGNISERS) == (by_most,)  # type: ignore[arg-type]


def test_the_mean_lies_between_the_photos_at_unit_length() -> None:
    first, second = embeddings(1, 1, 1), embeddings(0.0, 0.5, 1.0)
    mean: dict[str, Tensor] = average_embeddings(first, (second,))
    for name, vector in mean.items():
        assert float(vector @ first[name]) == pytest.approx(float(vector @ second[name]), abs=1e-6)
        assert float(vector.norm()) == pytest.approx(1.0)


def test_without_references_the_face_alone_counts() -> None:
    embeddings = {"a": F.normalize(torch.randn(8), dim=0)}
    assert average_embeddings(embeddings, ()) is embeddings


def test_only_earlier_matches_can_be_lost() -> None:
    row = Similarity("a", "a", True, 0.9, 0.3, 0.5, 0.6, references=((0.8, 0.4), (0.7, 0.6), (0.4, 0.1)))
    sentence = describe_face_report(FaceReport(1, (0, 0, 9, 9), 50.0, None, similarities=(row,)))
    assert "Matches with the reference photos lost: 1 of 2." in sentence
