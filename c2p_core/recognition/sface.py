"""SFace of the OpenCV Zoo, 128 values, in ONNX (extra ``onnx``). Family sface, licence Apache-2.0.

Source: Y. Zhong et al., SFace: sigmoid-constrained hypersphere loss for robust face recognition, 2021; the file
``face_recognition_sface_2021dec.onnx``, as OpenCV's FaceRecognizerSF uses it: RGB in 0..255 of faces aligned to the
usual five points.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from c2p_core.models.user_recognisers import OnnxInput
from c2p_core.recognition.alignment import five_point_template

VALUES = 128
_SIZE = 112
TEMPLATE = five_point_template(_SIZE, 1.0)


def LOAD(path: Path) -> nn.Module:
    """Load the published file.

    Raises:
        ModelUnavailable: the packages of the extra are not installed, or the file holds something else.
    """
    from c2p_core.recognition.onnx_recogniser import load_onnx

    return load_onnx(path, OnnxInput(_SIZE, 0.0, 255.0, "rgb"))
