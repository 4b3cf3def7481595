"""faceres and faceres-deep: MobileNets with 1024 values. Family faceres, licence Apache-2.0.

Source: A. Savchenko, Efficient facial representations for age, gender and identity recognition in organizing photo
albums using multi-output ConvNet, PeerJ CS 2019 (HSE_FaceRec_tf); trained on VGGFace2, then for age and sex. Weights:
the models faceres and faceres-deep of Human (V. Mandic), by ``bundle/convert/faceres.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from c2p_core.recognition.alignment import five_point_template
from c2p_core.recognition.tf_layers import make_mobilenet_layers

# d' 3.8 at zooms from 0.85 to 1, 3.4 at 0.7, 3.7 at 1.15.
TEMPLATE = five_point_template(224, 0.9)
# Blue, green, red: the order in which the network was trained, as Caffe models are.
_IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)


class Faceres(nn.Module):
    """Maps aligned chips (B, 3, 224, 224), RGB in 0..1, to descriptors (B, 1024) of any length.

    Chips of other sizes work too, and give other descriptors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = make_mobilenet_layers("same")
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN_BGR), persistent=False)
        self.mean: Tensor

    def forward(self, chips: Tensor) -> Tensor:
        features: Tensor = self.layers(chips.flip(1).permute(0, 2, 3, 1).contiguous() * 255 - self.mean)
        return features.mean((1, 2))


NETWORK = Faceres
