"""Finds photos in stores of objects, as ``sources`` does in folders."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from c2p_core.batch.objects import Stamp, open_store

_WILDCARDS = frozenset("*?[")


def expand_url(url: str) -> list[str]:
    """The URL itself, or the sorted URLs that match it as a pattern.

    Raises:
        BadRequest: no driver is installed.
        CannotWrite: the store can't be used.
    """
    if not _WILDCARDS & set(url) or "" in list_url(url):
        return [url]
    folder = url[: min(url.find(sign) for sign in _WILDCARDS if sign in url)].rpartition("/")[0]
    store = open_store(folder)
    paths = store.system.glob(f"{store.root}{url[len(folder) :]}")
    # With the folder as it was given: the driver's name for it may lack a part of its URL, such as the account.
    return sorted(folder + path[len(store.root) :] for path in paths)


def list_url(url: str) -> dict[str, Stamp]:
    """The stamps of the objects below a URL by relative name, or that of the object itself under an empty name.

    Raises:
        BadRequest: no driver is installed.
        CannotWrite: the store can't be used.
    """
    folder, _, name = url.rpartition("/")
    if not folder.endswith(":/") and (stamp := open_store(folder).stat(name)) is not None:
        return {"": stamp}
    return dict(sorted(open_store(url).list_all().items()))


def find_common_url(listed: Mapping[str, Mapping[str, Stamp]]) -> str:
    """The deepest folder that holds all URLs, each listed by ``list_url``; empty if they are in different buckets."""
    folders = {posixpath.dirname(url) if "" in objects else url for url, objects in listed.items()}
    split_folders = [folder.split("/") for folder in folders]
    shared = []
    for parts in zip(*split_folders, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    # Scheme, nothing, bucket.
    return "/".join(shared) if len(shared) > 2 else ""
