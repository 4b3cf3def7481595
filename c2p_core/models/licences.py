"""Messages on the licences of the models that were used for a result."""

from __future__ import annotations

from collections.abc import Iterable

from c2p_core.errors import Message
from c2p_core.models.store import ModelStore
from c2p_core.priors.checkpoint_files import SHIPPED_GENERATOR, find_checkpoints


def list_licence_warnings(store: ModelStore, names: Iterable[str]) -> list[Message]:
    """A message on the models whose licences allow research or evaluation only; [] without such models.

    Args:
        store: has the manifest.
        names: of models; those that the manifest does not list, such as the user's own files, are ignored.
    """
    used = set(names)
    research_models = [e.name for e in store.catalogue() if e.name in used and e.use == "research"]
    return [Message("research-models-used", names=research_models)] if research_models else []


def list_used_generators(store: ModelStore, fetched: str | None) -> tuple[str, ...]:
    """Names of the manifest's models that the prior stylegan2 uses; () where both networks are the user's own.

    Args:
        store: has the models' files.
        fetched: name of the full profile's generator; None for the one that ships.

    Raises:
        ModelUnavailable: there is a generator without an encoder, or the other way round.
    """
    paths = find_checkpoints(store.root)
    if paths is None:
        return (fetched or SHIPPED_GENERATOR,)
    return tuple(entry.name for entry in store.catalogue() if entry.name in {path.parent.name for path in paths})


def list_generator_warnings(store: ModelStore) -> list[Message]:
    """A message on a generator that the user put into the folder of models; [] without one.

    Raises:
        ModelUnavailable: there is a generator without an encoder, or the other way round.
    """
    paths = find_checkpoints(store.root)
    return [Message("own-generator-used", files=sorted({path.name for path in paths}))] if paths else []
