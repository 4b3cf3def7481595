"""FaceNet with 512 values, by facenet-pytorch's InceptionResnetV1 (extra ``full``). Family facenet, licence MIT.

Source: F. Schroff et al., FaceNet, CVPR 2015; D. Sandberg's FaceNet project, converted by facenet-pytorch (T. Esler);
trained on VGGFace2. The file also contains the classifier used in training, which is read and dropped.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from c2p_core import torchvision_ops
from c2p_core.errors import ModelUnavailable
from c2p_core.models.weights import load_weights
from c2p_core.recognition.alignment import five_point_template

VALUES = 512
# The usual zoom; without weights at hand none could be measured. facenet-pytorch crops by a detector's box instead
# of aligning, which shows less around the face.
TEMPLATE = five_point_template(160, 1.0)
_PEOPLE = 8631  # in VGGFace2's training set


class FaceNet(nn.Module):
    """Maps aligned chips (B, 3, 160, 160), RGB in 0..1, to descriptors (B, 512)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, chips: Tensor) -> Tensor:
        # (0..255 - 127.5) / 128, as facenet-pytorch standardises its pictures.
        descriptors: Tensor = self.network(chips * (255 / 128) - 127.5 / 128)
        return descriptors


def make_network() -> nn.Module:
    """InceptionResnetV1 with every tensor of the published file, and without weights.

    Raises:
        ModelUnavailable: facenet-pytorch is not installed.
    """
    torchvision_ops.define_missing_operators()
    try:
        from facenet_pytorch import InceptionResnetV1
    except ImportError as error:
        raise ModelUnavailable("extra-missing", what="FaceNet", package="facenet-pytorch", extra="full") from error
    network: nn.Module = InceptionResnetV1()
    network.logits = nn.Linear(VALUES, _PEOPLE)
    return network


def LOAD(path: Path) -> nn.Module:
    """Load the published file.

    Raises:
        ModelUnavailable: facenet-pytorch is not installed, or the file holds something else.
    """
    network = load_weights(make_network(), path)
    del network.logits
    return FaceNet(network)
