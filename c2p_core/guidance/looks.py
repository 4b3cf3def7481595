"""From words to product codes."""

from __future__ import annotations

from torch import Tensor

from c2p_core.guidance.vocabulary import COLOURS, Look
from c2p_core.priors.products import PRODUCTS, bare_code, product_row


def look_code(look: Look) -> Tensor:
    """The (9, 6) product code of a look; products that it doesn't name are absent."""
    code = bare_code()
    for touch in look:
        colour = None if touch.colour is None else COLOURS[touch.colour]
        code[PRODUCTS.index(touch.product)] = product_row(touch.product, colour, touch.intensity, touch.spread)
    return code
