from __future__ import annotations

from pathlib import Path

import pytest

from tests.convert.published import find_published


@pytest.fixture(scope="session")
def dlib_weights() -> Path:
    return find_published("dlib_resnet") / "dlib_face_recognition_resnet_model_v1.dat"
