"""What a report has to say of the licences of the models that a result was made with."""

from __future__ import annotations

from collections.abc import Iterable

from c2p_core.errors import Message
from c2p_core.models.store import ModelStore
from c2p_core.priors.checkpoint_files import SHIPPED_GENERATOR, find_checkpoints


def licence_warnings(store: ModelStore, names: Iterable[str]) -> list[Message]:
    """A message on the models whose licences allow research or evaluation only; [] without such models.

    Args:
        store: has the manifest.
        names: of models; what the manifest does not list, such as a file of the user's, counts for nothing.
    """
    used = set(names)
    research = [e.name for e in store.catalogue() if e.name in used and e.use == "research"]
    return [Message("research-models-used", names=research)] if research else []


def list_used_generators(store: ModelStore, fetched: str | None) -> tuple[str, ...]:
    """Names of the manifest's models that the prior stylegan2 takes; () where both networks are the user's own.

    Args:
        store: has the models' files.
        fetched: name of the full profile's generator; None where the one that ships is meant.

    Raises:
        ModelUnavailable: there is a generator without an encoder, or the other way round.
    """
    own = find_checkpoints(store.root)
    if own is None:
        return (fetched or SHIPPED_GENERATOR,)
    return tuple(entry.name for entry in store.catalogue() if entry.name in {path.parent.name for path in own})


def generator_warnings(store: ModelStore) -> list[Message]:
    """A message on a generator that the user put into the folder of models; [] without one.

    Raises:
        ModelUnavailable: there is a generator without an encoder, or the other way round.
    """
    own = find_checkpoints(store.root)
    return [Message("own-generator-used", files=sorted({path.name for path in own}))] if own else []
