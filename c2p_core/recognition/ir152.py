"""IR-152 of face.evoLVe, 512 values, one of the CLIP2Protect paper's recognisers. Brought by the user.

Source: Z. Jian et al., face.evoLVe; the file ``ir152.pth`` that AMT-GAN (S. Hu et al., CVPR 2022) distributes. Its
authors state no licence for the weights, which were trained on MS-Celeb-1M.
"""

from __future__ import annotations

from functools import partial

from c2p_core.recognition.arcface_resnet import TEMPLATE, ArcFaceResnet

__all__ = ["NETWORK", "TEMPLATE"]

NETWORK = partial(ArcFaceResnet, (3, 8, 36, 3), attention=False)
