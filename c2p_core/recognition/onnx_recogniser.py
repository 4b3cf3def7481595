"""A recogniser in ONNX: onnxruntime runs it, and torch computes its gradients if its operators can be converted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from c2p_core.errors import Message, ModelUnavailable, first_line
from c2p_core.models.user_recognisers import LARGEST, SMALLEST, OnnxInput
from c2p_core.recognition.onnx_file import OnnxFile, check_sizes, read_onnx
from c2p_core.recognition.onnx_network import OnnxNetwork, Unconvertible

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

USUAL_SIZE = 112
_FEWEST_VALUES, _MOST_VALUES = 8, 65_536
# Least cosine similarity of the descriptors by onnxruntime and torch, which differ only by rounding.
_SAME = 0.9999
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_ERRORS = 3  # of onnxruntime's log: 3 is errors only


class OnnxRecogniser(nn.Module):
    """Maps aligned chips (B, 3, size, size), RGB in 0..1, to descriptors (B, D) of any length.

    torch runs it if gradients are needed; else onnxruntime does, as others would.

    Attributes:
        size: side of a chip in pixels.
        sha256: of the file and its external data, in hex.
        judges_only: why there are no gradients; None if there are.
    """

    def __init__(self, file: OnnxFile, input_format: OnnxInput) -> None:
        """Build the recogniser and try it.

        Raises:
            ModelUnavailable: it is no recogniser for faces, or onnxruntime can't run it.
        """
        super().__init__()
        self.sha256 = file.sha256
        self._path, self._input_format = file.path, input_format
        self.size, self._channels_last = _read_input(file, input_format)
        fixed = file.shape[0] is not None
        check_sizes(file, self._make_shape(file.shape[0] or 2))
        self._session = _open_session(file)
        output = self._session.get_outputs()[0]
        self._output = output.name
        if output.type not in _TYPES:
            raise ModelUnavailable("onnx-output-type-wrong", path=str(file.path), type=output.type)
        self._input = self._session.get_inputs()[0]
        if self._input.type not in _TYPES:
            raise ModelUnavailable("onnx-input-type-wrong", path=str(file.path), type=self._input.type)
        # Models that accept a single picture only, or have shapes fixed for one, get pictures one by one.
        self._batched = not fixed and self._accepts_batches()
        expected = self._describe_with_onnxruntime(self._make_examples())
        norms = expected.norm(dim=1)
        shape = " x ".join(map(str, expected.shape[1:]))
        if not _FEWEST_VALUES <= expected.shape[1] <= _MOST_VALUES or not bool(
            (norms > 0).all() & norms.isfinite().all()
        ):
            raise ModelUnavailable("onnx-output-wrong", path=str(file.path), shape=shape)
        self.network: OnnxNetwork | None = None
        self.judges_only: Message | None = None
        try:
            network = OnnxNetwork(file)
            with torch.no_grad():
                converted = self._describe_with_torch(network.rehearse, self._make_examples())
        except Unconvertible as error:
            self.judges_only = Message("onnx-not-convertible", operators=list(error.operators))
            return
        if converted.shape == expected.shape and float(F.cosine_similarity(converted, expected).min()) >= _SAME:
            self.network = network
        else:
            self.judges_only = Message("onnx-conversion-differs")

    def forward(self, chips: Tensor) -> Tensor:
        if self.network is not None and torch.is_grad_enabled():
            return self._describe_with_torch(self.network, chips)
        return self._describe_with_onnxruntime(chips.detach())

    def _make_shape(self, count: int) -> tuple[int, int, int, int]:
        side = self.size
        return (count, side, side, 3) if self._channels_last else (count, 3, side, side)

    def _prepare(self, chips: Tensor) -> Tensor:
        ordered = chips.flip(1) if self._input_format.order == "bgr" else chips
        scaled = ordered * (self._input_format.high - self._input_format.low) + self._input_format.low
        return scaled.permute(0, 2, 3, 1) if self._channels_last else scaled

    def _describe_with_torch(self, network: Callable[[Tensor], Tensor], chips: Tensor) -> Tensor:
        """Descriptors by torch."""
        pictures = self._prepare(chips)
        parts = [pictures] if self._batched else list(pictures.split(1))
        descriptors: Tensor = torch.cat([network(part).reshape(len(part), -1) for part in parts])
        return descriptors

    def _describe_with_onnxruntime(self, chips: Tensor) -> Tensor:
        """Descriptors by onnxruntime, on the chips' device; without gradients."""
        pictures = self._prepare(chips).cpu().numpy().astype(_TYPES[self._input.type])
        parts = [pictures] if self._batched else [pictures[at : at + 1] for at in range(len(pictures))]
        descriptors = np.concatenate([np.asarray(self._run_session(part)).reshape(len(part), -1) for part in parts])
        return torch.from_numpy(descriptors.astype(np.float32)).to(chips.device)

    def _run_session(self, pictures: np.ndarray) -> object:
        try:
            return self._session.run([self._output], {self._input.name: np.ascontiguousarray(pictures)})[0]
        # onnxruntime has a class of its own for each of a dozen failures.
        except Exception as error:
            raise ModelUnavailable("onnx-failed", path=str(self._path), reason=first_line(error)) from error

    def _make_examples(self) -> Tensor:
        return torch.rand(2, 3, self.size, self.size, generator=torch.Generator().manual_seed(0))

    def _accepts_batches(self) -> bool:
        """Whether two pictures at once give one descriptor each."""
        try:
            descriptors = np.asarray(
                self._run_session(self._prepare(self._make_examples()).numpy().astype(_TYPES[self._input.type]))
            )
        except ModelUnavailable:
            return False
        return descriptors.ndim > 1 and descriptors.shape[0] == 2


def load_onnx(path: Path, input_format: OnnxInput) -> OnnxRecogniser:
    """Load a recogniser from a file in ONNX, frozen and in eval mode.

    Args:
        path: of the file; external data must lie in its folder.
        input_format: of the model.

    Raises:
        ModelUnavailable: onnx or onnxruntime is not installed; the file can't be read, is too large or is no recogniser
            for faces; onnxruntime can't run it.
    """
    return OnnxRecogniser(read_onnx(path), input_format).eval().requires_grad_(False)


def _read_input(file: OnnxFile, input_format: OnnxInput) -> tuple[int, bool]:
    """Read the side of the chips, and whether the channels are the last axis."""
    path, shape = str(file.path), file.shape
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise ModelUnavailable("onnx-input-wrong", path=path, shape=" x ".join(str(extent or "?") for extent in shape))
    channels_last = shape[1] != 3
    sides = {extent for extent in (shape[1:3] if channels_last else shape[2:]) if extent is not None}
    if len(sides) > 1 or any(not SMALLEST <= side <= LARGEST for side in sides):
        raise ModelUnavailable("onnx-input-wrong", path=path, shape=" x ".join(str(extent or "?") for extent in shape))
    fixed_size = next(iter(sides), None)
    if fixed_size is not None and input_format.size not in (None, fixed_size):
        raise ModelUnavailable("onnx-size-differs", path=path, size=fixed_size, given=input_format.size)
    return fixed_size or input_format.size or USUAL_SIZE, channels_last


def _open_session(file: OnnxFile) -> InferenceSession:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelUnavailable("extra-missing", what=file.path.name, package="onnxruntime", extra="onnx") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS
    options.intra_op_num_threads = torch.get_num_threads()
    # Spinning threads would take processor time from the search.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(file.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    # onnxruntime has a class of its own for each of a dozen failures.
    except Exception as error:
        raise ModelUnavailable("onnx-failed", path=str(file.path), reason=first_line(error)) from error
