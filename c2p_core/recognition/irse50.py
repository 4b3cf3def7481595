"""IR-SE50 of InsightFace_Pytorch, 512 values, one of the CLIP2Protect paper's recognisers. Brought by the user.

Source: TreB1eN, InsightFace_Pytorch; the file ``irse50.pth`` that AMT-GAN (S. Hu et al., CVPR 2022) distributes. Its
author states no licence for the weights, which were trained on MS-Celeb-1M.
"""

from __future__ import annotations

from functools import partial

from c2p_core.recognition.arcface_resnet import TEMPLATE, ArcFaceResnet

__all__ = ["NETWORK", "TEMPLATE"]

NETWORK = partial(ArcFaceResnet, (3, 4, 14, 3), attention=True)
