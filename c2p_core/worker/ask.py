"""One question to the running worker, for the command line."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from c2p_core.errors import C2PError
from c2p_core.worker import place
from c2p_core.worker.protocol import Header, Message, ProtocolError, StreamClosed, proof, read, same, write
from c2p_core.worker.transport import Connected, PipeStream, SocketStream

_ANSWER_SECONDS = 10.0


class NoWorker(C2PError):
    """There is no worker that answers."""


def ask(kind: str, folder: Path | None = None) -> Header:
    """The worker's answer to "status" or "stop".

    Raises:
        NoWorker: none runs, or it does not answer.
    """
    endpoint = place.read_endpoint(folder or place.run_folder())
    if endpoint is None:
        raise NoWorker("No worker is running; it starts by itself when a plug-in needs it.")
    try:
        stream = _connected(endpoint)
        try:
            stream.limit(_ANSWER_SECONDS)
            _shake_hands(stream, str(endpoint["token"]))
            write(stream, Message({"kind": kind, "job": 1}))
            return read(stream).header
        finally:
            stream.close()
    except (OSError, KeyError, StreamClosed, ProtocolError) as error:
        raise NoWorker(f"The worker does not answer ({error}); run 'c2p worker stop' to end it.") from error


@dataclass(frozen=True)
class Ending:
    """What came of ending the worker, in words, and whether one ran."""

    words: str
    ran: bool


def stop(folder: Path | None = None) -> Ending:
    """Ends the worker, by force when it does not answer."""
    folder = folder or place.run_folder()
    endpoint = place.read_endpoint(folder)
    if endpoint is None:
        return Ending("No worker is running.", False)
    process = _process(endpoint)
    try:
        ask("stop", folder)
    except NoWorker:
        if process is None:
            place.remove_endpoint(folder)
            return Ending("No worker is running; what a killed one left was removed.", False)
        os.kill(process.pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
        place.remove_endpoint(folder)
        return Ending("The worker did not answer and was killed.", True)
    if process is not None:
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(_ANSWER_SECONDS)
    return Ending("The worker has ended.", True)


def _process(endpoint: dict[str, Any]) -> psutil.Process | None:
    """The process that wrote the endpoint; None when it is gone and its number belongs to another one."""
    try:
        process = psutil.Process(int(endpoint["pid"]))
        return process if abs(process.create_time() - float(endpoint["started"])) < 1 else None
    except (psutil.Error, KeyError, ValueError, TypeError):
        return None


def _connected(endpoint: dict[str, Any]) -> Connected:
    transport, address = endpoint["transport"], endpoint["address"]
    if transport == "pipe":
        from multiprocessing.connection import Client

        return PipeStream(Client(address, "AF_PIPE"))
    if transport == "tcp":
        return SocketStream(socket.create_connection(("127.0.0.1", int(address)), _ANSWER_SECONDS))
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Without a limit it would wait for ever for a hung worker whose queue is full.
        connected.settimeout(_ANSWER_SECONDS)
        connected.connect(address)
    except OSError:
        connected.close()
        raise
    return SocketStream(connected)


def _shake_hands(stream: Connected, token: str) -> None:
    theirs = str(read(stream, first=True).header.get("challenge"))
    ours = secrets.token_hex(16)
    hello = {"kind": "hello", "client": "c2p", "wants": "control", "challenge": ours}
    write(stream, Message({**hello, "proof": proof(token, "client", theirs, ours)}))
    answer = read(stream, first=True).header
    if answer.get("kind") == "error":
        raise ProtocolError(str(answer.get("sentence")))
    if not same(str(answer.get("proof")), proof(token, "worker", ours, theirs)):
        raise ProtocolError("it does not know the token")
