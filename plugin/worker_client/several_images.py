# -*- coding: utf-8 -*-
"""Protects one open image after the other, and reports the outcome for each."""

from __future__ import unicode_literals

from worker_client.client import Event
from worker_client.crash_report import report_crash
from worker_client.errors import Refused, WorkerProblem
from worker_client.report import choose_title, describe_left_out, get_disclaimer
from worker_client.texts import _, as_text, to_sentence

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Callable, Sequence
    from typing import Any

    OnEvent = Callable[[Event], None]


class Outcome(object):
    """The outcome for one image.

    Attributes:
        name: of the image.
        result: header of the result of "protect" or "apply"; None if the image is unchanged.
        why: a sentence that says why it is unchanged; empty if there is a result.
    """

    def __init__(self, name, result=None, why=""):
        # type: (str | bytes, dict[str, Any] | None, str) -> None
        self.name = as_text(name)
        self.result = result
        self.why = why


def protect_each(names, protect_one, on_event, log_folder):
    # type: (Sequence[str | bytes], Callable[[int, OnEvent], dict[str, Any]], OnEvent, str) -> list[Outcome]
    """Protects images in their order; one that can't be protected does not stop the others.

    Args:
        names: of the images.
        protect_one: protects the image with an index, passes its events on, and returns the header of its result;
            raises if the image is unchanged.
        on_event: called with all events, with "image" (from 1) and "images", and with the fraction of the whole.
        log_folder: for unexpected errors.
    """
    outcomes = []
    for index, name in enumerate(names):
        try:
            outcomes.append(Outcome(name, protect_one(index, _number_events(on_event, index + 1, len(names)))))
        except WorkerProblem as problem:
            outcomes.append(Outcome(name, why=to_sentence(problem.message)))
        except Exception as error:
            outcomes.append(Outcome(name, why=report_crash("crashed-unchanged", error, log_folder)))
    return outcomes


def check_any_done(outcomes):
    # type: (Sequence[Outcome]) -> None
    """Checks that at least one image was protected.

    Raises:
        Refused: none was; it gives the reason for each.
    """
    if not any(outcome.result for outcome in outcomes):
        raise Refused("no-image-protected", reasons=" ".join(map(_describe_line, outcomes)))


def sort_for_reading(outcomes):
    # type: (Sequence[Outcome]) -> list[Outcome]
    """The outcomes, with those of unprotected images first."""
    return sorted(outcomes, key=lambda outcome: outcome.result is not None)


def describe_count(outcomes):
    # type: (Sequence[Outcome]) -> str
    """How many images have a new layer, which says nothing about how well they are protected."""
    done = sum(outcome.result is not None for outcome in outcomes)
    return _("Images with a new layer: {done} of {count}.").format(done=done, count=len(outcomes))


def describe_outcome(outcome):
    # type: (Outcome) -> str
    """The outcome for an image, without its name."""
    if outcome.result is None:
        return _("Left out: {why}").format(why=outcome.why)
    sentences = [choose_title(outcome.result) + "."] + [to_sentence(warning) for warning in outcome.result["warnings"]]
    return " ".join(sentences + describe_left_out(outcome.result))


def summarise_outcomes(outcomes):
    # type: (Sequence[Outcome]) -> str
    """All outcomes, a line for each image."""
    lines = [describe_count(outcomes)] + [_describe_line(outcome) for outcome in sort_for_reading(outcomes)]
    return "\n".join(lines + [get_disclaimer()])


def _describe_line(outcome):
    # type: (Outcome) -> str
    return "{}: {}".format(outcome.name, describe_outcome(outcome))


def _number_events(on_event, image, images):
    # type: (OnEvent, int, int) -> OnEvent
    def on_numbered_event(event):
        # type: (Event) -> None
        header = dict(event.header, image=image, images=images)
        if "fraction" in header:
            header["fraction"] = (image - 1 + header["fraction"]) / float(images)
        on_event(Event(event.kind, header))

    return on_numbered_event
