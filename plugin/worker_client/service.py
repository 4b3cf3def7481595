# -*- coding: utf-8 -*-
"""The worker behind Protect Face: its state, a restart, and words for a bug report."""

from __future__ import unicode_literals

import json

from worker_client.client import diagnose, greet, stop
from worker_client.messages import Message
from worker_client.texts import (
    _,
    as_text,
    describe_device,
    describe_profile,
    format_duration,
    format_megabytes,
    to_sentence,
)

STATUS, RESTART, DIAGNOSE, FETCH = "status", "restart", "diagnose", "fetch"
# Values and what the user reads, the default first.
SERVICES = (
    (STATUS, _("Status")),
    (RESTART, _("Restart")),
    (DIAGNOSE, _("Diagnosis")),
    (FETCH, _("Fetch missing models")),
)

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Callable
    from typing import Any

    from worker_client.client import Event, Worker


def perform(action, connect, on_event):
    # type: (str, Callable[[], Worker], Callable[[Event], object]) -> dict[str, Any]
    """Does one of ``SERVICES`` and returns the worker's answer.

    Args:
        action: the service.
        connect: returns a connection.
        on_event: called with the events.

    Raises:
        WorkerProblem: the worker can't be reached, or can't do that.
    """
    if action == DIAGNOSE:
        return diagnose()
    if action == RESTART:
        stop()
    else:
        greet()  # connecting would wait for a silent worker as long as for one that starts
    with connect() as worker:
        if action == FETCH:
            return worker.submit("models", {"fetch": True}).result(on_event).header
        return dict(worker.submit("status").result(on_event).header, hello=worker.hello)


def describe(action, answer):
    # type: (str, dict[str, Any]) -> str
    """The answer as text, to read or to copy into a bug report."""
    if action == DIAGNOSE:
        return "\n".join("{}: {}".format(key, _to_text(value)) for key, value in sorted(answer.items()))
    if action == FETCH:
        return "\n".join(_describe_models(answer) or [_("There is nothing to fetch: the models are here.")])
    hello = answer["hello"]
    lines = [
        _("Protect Face {version} runs on {device}.").format(version=hello["version"], device=describe_device(hello)),
        _("It has been running for {time} and uses {memory}.").format(
            time=format_duration(answer["seconds_running"]), memory=format_megabytes(answer["memory"])
        ),
        _("Its log is {}.").format(answer["log"]),
    ]
    lines += [line for line in (describe_profile(hello),) if line] + [""]
    lines += _describe_models(hello["models"]) or [_("All models are here.")]
    return "\n".join(lines + [to_sentence(why) for _name, why in sorted(hello["missing_priors"].items())])


def _describe_models(models):
    # type: (dict[str, Any]) -> list[str]
    """Which models are missing, and what to do if they can't be fetched."""
    lines = [
        _("Missing: {name} ({size}).").format(name=model["name"], size=format_megabytes(model["size"] or 0))
        for model in models["missing"]
    ]
    if not all(model["can_be_fetched"] for model in models["missing"]):
        lines.append(to_sentence(Message("installed-models-missing")))
    return lines


def _to_text(value):
    # type: (object) -> str
    return as_text(value) if isinstance(value, (str, bytes)) else json.dumps(value)
