"""Recognisers of FRBench, a package of more than 45 (extra ``frbench``, MIT). It fetches and hashes their weights.

Source: Z. Wang et al., Protego, CVPR 2026 (HKU-TASR, FRBench). Weights are in the package's own cache.
"""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor, nn

from c2p_core import torchvision_ops
from c2p_core.errors import BadRequest, ModelUnavailable, first_line
from c2p_core.recognition.alignment import FIVE_POINTS, Template

_LARGEST_LIST = 1 << 20  # bytes of the package's list of models


class Frbench(nn.Module):
    """Maps aligned chips (B, 3, size, size), RGB in 0..1, to descriptors (B, D) of any length.

    Attributes:
        template: the alignment that the model was trained with.
        weights: the file of its weights.
    """

    def __init__(self, model: str, offline: bool) -> None:
        """Load a model by its key in the package.

        Raises:
            BadRequest: the package has no such model.
            ModelUnavailable: the package is not installed, or its weights can't be fetched or read.
        """
        super().__init__()
        torchvision_ops.define_missing_operators()
        try:
            import frbench
        except ImportError as error:
            raise ModelUnavailable("extra-missing", what=model, package="frbench", extra="frbench") from error
        # By default it looks for updates once a day, prints, and warns about dark chips.
        frbench.configure(verbose=False, update_check=False)
        if offline:
            _check_cached(Path(frbench.CACHE), model)
        try:
            known = [entry.key for entry in frbench.list_models()]
            if model not in known:
                raise BadRequest("frbench-unknown", model=model, known=known)
            asset = frbench.get_asset(model)
            self.network = frbench.FR(*model.rsplit("_", 2), eager_load=True)
        except BadRequest:
            raise
        # The package has errors of its own, and damaged files cause any error of torch or YAML.
        except Exception as error:
            raise ModelUnavailable("frbench-unavailable", model=model, reason=first_line(error)) from error
        self.weights = Path(asset["path"]) / asset["contents"]["weight"]
        height, width = self.network.input_size
        if height != width:
            raise ModelUnavailable("frbench-unavailable", model=model, reason=f"{height} x {width}")
        # Its coordinates have pixel centres at integers.
        points = tuple((float(x) + 0.5, float(y) + 0.5) for x, y in self.network.preprocessor.template.tolist())
        self.template = Template(height, points, FIVE_POINTS)

    def forward(self, chips: Tensor) -> Tensor:
        descriptors: Tensor = self.network(chips.clamp(0, 1) * 255, need_crop=False, tta=()).embeddings
        return descriptors


def _check_cached(cache: Path, model: str) -> None:
    """Refuse a model that the package would have to fetch."""
    try:
        with (cache / "manifest.json").open("rb") as file:
            entry = json.loads(file.read(_LARGEST_LIST))[model]
        folder = cache / str(entry["target_name"])
        if all((folder / str(name)).is_file() for name in entry["contents"].values()):
            return
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # not cached
    raise ModelUnavailable("frbench-offline", model=model)
