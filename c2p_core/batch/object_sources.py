"""Finds photos in stores of objects, as ``sources`` does in folders."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from c2p_core.batch.objects import Stamp, open_store

_MAGIC = frozenset("*?[")


def expand_url(url: str) -> list[str]:
    """The URL, or those that it is a pattern of, in their order.

    Raises:
        BadRequest: no driver is installed.
        CannotWrite: the store can't be used.
    """
    if not _MAGIC & set(url) or "" in list_url(url):
        return [url]
    head = url[: min(url.find(sign) for sign in _MAGIC if sign in url)].rpartition("/")[0]
    store = open_store(head)
    found = store.system.glob(f"{store.root}{url[len(head) :]}")
    # As it was named: what the driver calls a folder may lack a part of its URL, such as the account.
    return sorted(head + path[len(store.root) :] for path in found)


def list_url(url: str) -> dict[str, Stamp]:
    """The object of a URL, named by an empty string, or all objects below it by their names there, and their stamps.

    Raises:
        BadRequest: no driver is installed.
        CannotWrite: the store can't be used.
    """
    folder, _, name = url.rpartition("/")
    if not folder.endswith(":/") and (stamp := open_store(folder).stat(name)) is not None:
        return {"": stamp}
    return dict(sorted(open_store(url).list_all().items()))


def common_url(listed: Mapping[str, Mapping[str, Stamp]]) -> str:
    """The deepest folder that has all of some URLs, listed as above; empty where they are in different buckets."""
    folders = {posixpath.dirname(url) if "" in objects else url for url, objects in listed.items()}
    split = [folder.split("/") for folder in folders]
    shared = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    # Scheme, nothing, bucket.
    return "/".join(shared) if len(shared) > 2 else ""
