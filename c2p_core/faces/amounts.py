"""How much of a change is applied: 0 is the unchanged photo, 1 the result of the search."""

from __future__ import annotations

from dataclasses import dataclass, replace

from c2p_core.faces.canvas import Change

MAX_AMOUNT = 1.2


@dataclass(frozen=True)
class Amounts:
    """Factors 0..1.2 of a change; 1 is the result of the search, 0 the unchanged photo.

    Attributes:
        amount: of everything; multiplies the others.
        shape: of the displacement.
        light: of the change of light and grain.
        makeup: of the products.
    """

    amount: float = 1.0
    shape: float = 1.0
    light: float = 1.0
    makeup: float = 1.0

    def factors(self) -> tuple[float, float, float]:
        """Shape, light and makeup, each times the amount and at most ``MAX_AMOUNT``; higher was never measured."""
        shape, light, makeup = (min(MAX_AMOUNT, self.amount * part) for part in (self.shape, self.light, self.makeup))
        return shape, light, makeup


AS_FOUND = Amounts()


def scale_change(change: Change, amounts: Amounts) -> Change:
    """Scale a change; with ``AS_FOUND`` it is the same.

    All three parts are linear: a scaled displacement still meets the conditions that keep the expression, and a scaled
    density looks like correspondingly less makeup.
    """
    if amounts == AS_FOUND:
        return change
    shape, light, makeup = amounts.factors()
    return replace(
        change,
        displacement=change.displacement * shape,
        density=change.density * light,
        paint=lambda maps: change.paint(maps) * makeup,
    )
