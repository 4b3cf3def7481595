"""The building blocks of functions for ONNX's operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Apply = Callable[..., Any]
"""From the inputs of a node, None where an optional one is left out, to its output or the tuple of its outputs."""


class Unsupported(Exception):
    """A node uses a feature that its operator's function here lacks; the text names it."""


@dataclass(frozen=True)
class Node:
    """The properties of a node on which its function depends, besides its inputs.

    Attributes:
        attributes: by name; tensors are torch's.
        outputs: how many are used.
        opset: version of the operators in the model.
    """

    attributes: Mapping[str, Any]
    outputs: int
    opset: int

    def get(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)


@dataclass(frozen=True)
class Operator:
    """The newest version of an operator's definition that ``make`` follows, and the factory of its function."""

    newest: int
    make: Callable[[Node], Apply]


def read_ints(value: Tensor | None) -> list[int] | None:
    """Read the values of an input with extents, axes or the like; None if it is left out."""
    return None if value is None else [int(entry) for entry in value.reshape(-1).tolist()]


def without_attributes(apply: Apply) -> Callable[[Node], Apply]:
    """A factory for an operator without attributes."""
    return lambda node: apply
