"""Stores of objects to test with: fsspec's own in the memory, and a server that speaks S3."""

from __future__ import annotations

import io
import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from urllib.request import Request, urlopen

import boto3
import fsspec
import pytest
from moto.server import ThreadedMotoServer


def make_memory_url() -> str:
    """A folder in the memory of this process that nobody has used."""
    return f"memory://{uuid.uuid4().hex}"


def read_objects(url: str) -> dict[str, bytes]:
    """All objects below a URL, by their names there."""
    system, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    # s3fs lists the folder itself if its first object comes while it is listed.
    paths = [path for path in system.find(root) if path != root]
    return {path[len(root) :].lstrip("/"): system.cat_file(path) for path in paths}


def read_results_of_store(url: str) -> dict[str, bytes]:
    """The results among them."""
    return {name: data for name, data in read_objects(url).items() if name.split("/")[0] not in (".c2p", "report")}


def put(url: str, name: str, data: bytes) -> str:
    """Write an object; returns its URL."""
    with fsspec.open(f"{url}/{name}", "wb") as file:
        file.write(data)
    return f"{url}/{name}"


@contextmanager
def serve_s3() -> Iterator[str]:
    """A server that speaks S3, known to everybody by the environment; yields the URL of a bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    with redirect_stdout(io.StringIO()):  # it says so
        server.start()
    try:
        host, port = server.get_host_and_port()
        # Buckets are kept for as long as the process lives, not the server.
        urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {
                "AWS_ENDPOINT_URL": f"http://{host}:{port}",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1",
            }.items():
                patch.setenv(name, value)
            # fsspec keeps connections for as long as the process lives, and knows nothing of this variable.
            fsspec.get_filesystem_class("s3").clear_instance_cache()
            boto3.client("s3").create_bucket(Bucket="photos")
            yield "s3://photos"
    finally:
        server.stop()
