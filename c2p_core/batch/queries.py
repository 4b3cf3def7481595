"""Questions that an engine in another process asks the first one, which has the journal and the traces of people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from c2p_core.batch.engine import Control, Reuse
from c2p_core.batch.layout import Item
from c2p_core.batch.looks import KnownTraces


@dataclass(frozen=True)
class ReuseQuery:
    """Asks for an earlier result of a photo, see ``Control.find_reuse``."""

    item: Item
    digest: str

    def answer(self, control: Control) -> Reuse | None:
        return control.find_reuse(self.item, self.digest)


@dataclass(frozen=True)
class TraceQuery:
    """Asks for the traces of the people on a photo, see ``Control.find_traces``."""

    item: Item
    people: tuple[int, ...]
    unrecorded: tuple[str, ...]

    def answer(self, control: Control) -> KnownTraces:
        return control.find_traces(self.item, self.people, self.unrecorded)


Query = ReuseQuery | TraceQuery


@dataclass(frozen=True)
class Answer:
    """The answer to a query: a value, or the error with which the photo of the query has failed."""

    value: Any = None
    error: Exception | None = None


def answer_query(query: Query, control: Control) -> Answer:
    """Answer a query in the first process."""
    try:
        return Answer(query.answer(control))
    except Exception as error:
        return Answer(error=error)


def forward_queries(control: Control, ask: Callable[[Query], Answer]) -> Control:
    """A control that asks the first process; ``ask`` sends it a query and waits for the answer, in any thread."""

    def get_value(query: Query) -> Any:
        answer = ask(query)
        if answer.error is not None:
            raise answer.error
        return answer.value

    return replace(
        control,
        find_reuse=lambda item, digest: get_value(ReuseQuery(item, digest)),
        find_traces=lambda item, people, unrecorded: get_value(TraceQuery(item, tuple(people), tuple(unrecorded))),
    )
