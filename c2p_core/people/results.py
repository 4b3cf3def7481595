"""Protected photos of earlier runs, so that a later run moves away from them, too."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from c2p_core.api import Box, Device
from c2p_core.errors import C2PError
from c2p_core.faces import find_faces_in
from c2p_core.faces.boxes import match_face
from c2p_core.io import photo_files
from c2p_core.models.store import ModelStore

# Torch is imported when the first face is embedded: most runs need none here.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from c2p_core.recognition import Recogniser


@dataclass(frozen=True)
class Results:
    """Finished photos.

    Attributes:
        files: the protected photo of each source, both as paths; more may be added.
        models: folder of the models; the default one when None.
        device: to compute on.
    """

    files: dict[str, Path]
    models: Path | None = None
    device: Device = "auto"

    def embed(self, source: str, box: Box) -> dict[str, NDArray[np.float32]] | None:
        """(D,) unit embeddings by recogniser of the face at a box of a protected photo.

        None where the photo was not protected, is gone or unreadable, or shows no face there.
        """
        path = self.files.get(source)
        if path is None:
            return None
        from c2p_core.device import pick_device
        from c2p_core.faces.view import View
        from c2p_core.verify import crop_face, embed_face

        try:
            view = View(photo_files.read(path))
        except C2PError:
            # Whoever removed it does not want it to be compared with.
            return None
        face = match_face(box, find_faces_in(view, self._store))
        if face is None:
            return None
        embeddings = embed_face(crop_face(view, face), self._recognisers, pick_device(self.device))
        return {name: vector.cpu().numpy() for name, vector in embeddings.items()}

    @cached_property
    def _store(self) -> ModelStore:
        return ModelStore(self.models)

    @cached_property
    def _recognisers(self) -> tuple[Recogniser, ...]:
        from c2p_core.device import pick_device
        from c2p_core.recognition import load_recognisers

        return load_recognisers("auto", self._store, pick_device(self.device))
