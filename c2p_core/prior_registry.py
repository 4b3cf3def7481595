"""The properties of the generative priors, without loading them.

Imports nothing of the package, so that callers that only need the names do not wait for torch, and so that building
the package can list the priors for GIMP's plug-ins (``hatch_build.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PriorEntry:
    """A prior that requests may name.

    Attributes:
        module: of ``load(Resources) -> Prior``, see ``priors.prior``.
        label: its name for users, in plain English; the plug-ins translate it.
        default_of: the profile in which it is the prior of requests that name none.
        free_noise: whether a search may optimise its noise maps (``ProtectRequest.free_noise``).
        loads_generator: whether it loads the full profile's generator or the user's own; reports mention the licence.
        generates: whether it makes new pixels; False if it only moves, shades and paints the photo's own, so that a
            result without makeup is an edited photo and not a generated one (IPTC *Digital Source Type*).
    """

    module: str
    label: str
    default_of: Literal["embedded", "full"] | None = None
    free_noise: bool = False
    loads_generator: bool = False
    generates: bool = True


REGISTRY: dict[str, PriorEntry] = {
    "makeup": PriorEntry("c2p_core.priors.makeup", "Makeup, light and shape", default_of="embedded", generates=False),
    "stylegan2": PriorEntry(
        "c2p_core.priors.wplus",
        "A generator of faces (StyleGAN2)",
        default_of="full",
        free_noise=True,
        loads_generator=True,
    ),
}
