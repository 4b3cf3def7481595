"""The portrait that most tests in GIMP protect: head and shoulders of scikit-image's astronaut."""

from __future__ import annotations

from skimage import data

SIDE = 320
"""Width and height in pixels, as in ``prelude.py``."""
PORTRAIT = data.astronaut()[:SIDE, :SIDE]
