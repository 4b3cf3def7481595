"""The plain loop that full size is compared with computes the same."""

from __future__ import annotations

import torch

from benchmarks.suites.fullsize import plain_synthesis
from c2p_core.priors.stylegan2 import Generator, GeneratorShape


def test_the_plain_loop_makes_the_same_picture() -> None:
    torch.manual_seed(0)
    generator = Generator(GeneratorShape((8, 8, 6), style=8, mapping=1))
    for layer in generator.styled_layers():
        layer.noise_strength.data.fill_(0.2)
    codes = torch.randn(2, 6, 8)
    with torch.no_grad():
        assert torch.allclose(plain_synthesis(generator, codes), generator(codes), atol=1e-4)
