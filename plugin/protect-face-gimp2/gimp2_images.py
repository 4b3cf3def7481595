"""One run over every open image of GIMP 2.10: each with its own layer and undo step; Python 2.7."""

from gimpfu import gimp, pdb
from worker_client.errors import Refused
from worker_client.several_images import check_any_done, protect_each, summarise_outcomes

from gimp2_procedures import show_progress, show_words
from gimp2_run import search_and_insert

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from typing import Any

    from gimpfu import Drawable, Image, Layer
    from worker_client.several_images import OnEvent


def protect_all(front, drawable, settings):
    # type: (Image, Drawable, dict[str, Any]) -> Layer
    """Protects all images that are open now, reports the outcome for each, and returns the first new layer.

    Args:
        front: the image that the form was opened for, which comes first.
        drawable: of that image; of the others the active layer is protected.
        settings: for all of them.

    Raises:
        WorkerProblem: none of the images was changed.
    """
    images = [front] + [image for image in gimp.image_list() if image.ID != front.ID]
    layers = []

    def protect_one(index, on_event):
        # type: (int, OnEvent) -> dict[str, Any]
        image = images[index]
        if not pdb.gimp_image_is_valid(image):
            raise Refused("image-closed")
        layer, result = search_and_insert(image, image.active_layer if index else drawable, settings, on_event)
        pdb.gimp_displays_flush()
        layers.append(layer)
        return result

    outcomes = protect_each([image.name for image in images], protect_one, show_progress, gimp.directory)
    check_any_done(outcomes)
    show_words(lambda: summarise_outcomes(outcomes))
    return layers[0]
