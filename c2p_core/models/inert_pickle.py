"""Reads pickles without running anything in them; imports no torch.

A pickle is a program: here it may only build plain containers, inert shells, and what the caller's builders make.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, ClassVar, TypeVar

_DEEPEST = 12  # nesting of modules
_LONGEST_NAME = 200  # of a tensor or module; no network comes near
# Of one pickle; the largest networks have a hundred thousand. Each can make an object that is larger than itself.
MOST_STEPS = 2_000_000
_MOST_AXES = 16

_Tensor = TypeVar("_Tensor")


class Shell:
    """Stands in for whatever a pickle names, and keeps its state."""

    state: object = None

    def __init__(self, *more: object, **named: object) -> None:
        # NVIDIA's modules are rebuilt from a description.
        if len(more) == 1:
            self.state = more[0]

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __call__(self, *more: object) -> Shell:
        return Shell()

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        """As a list would."""

    def extend(self, values: object) -> None:
        """As a list would."""

    add = append


class Builder:
    """A function that a pickle may call and can't change."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self._make = make

    def __call__(self, *arguments: object) -> object:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes a function")


class _Table(dict[Any, Any]):
    """Stands in for an ``OrderedDict``; what a pickle sets on it, such as torch's ``_metadata``, is dropped."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        pass


def _make_table(pairs: object = None) -> _Table:
    table = _Table()
    if pairs is None:
        return table
    if not isinstance(pairs, list):
        raise pickle.UnpicklingError("it makes a dictionary of no list")
    for name, value in pairs:
        _check_key(name)
        table[name] = value
    # Or a file could have it copied again and again.
    pairs.clear()
    return table


def _make_size(extents: object) -> tuple[object, ...]:
    if not isinstance(extents, (list, tuple)) or len(extents) > _MOST_AXES:
        raise pickle.UnpicklingError("it has a size of too many axes")
    return tuple(extents)


Known = Mapping[tuple[str, str], "Builder | type[Shell]"]
"""What stands in for a name in a pickle, by its module and itself."""

CONTAINERS: Known = {
    ("collections", "OrderedDict"): Builder(_make_table),
    ("torch", "Size"): Builder(_make_size),
    ("torch._utils", "_rebuild_parameter"): Builder(lambda data, *more: data),
}


def _check_key(key: object) -> None:
    """Refuse a key whose hash could take for ever: tuples that hold each other twice, many times over."""
    if isinstance(key, tuple) and any(isinstance(part, tuple) for part in key):
        raise pickle.UnpicklingError("it has tuples in tuples as keys")


# Where the keys of a table or set lie on the stack when one of these is read.
_KEYS = {
    pickle.SETITEM: slice(-2, -1),
    pickle.SETITEMS: slice(None, None, 2),
    pickle.DICT: slice(None, None, 2),
    pickle.ADDITEMS: slice(None),
    pickle.FROZENSET: slice(None),
}


# Bytes that can be changed and bytes that lie outside, which no weights need: the reader sets memory aside for any
# number of them that a file names.
_LEFT_OUT = frozenset(pickle.BYTEARRAY8 + pickle.NEXT_BUFFER + pickle.READONLY_BUFFER)


def _bound_steps() -> dict[int, Callable[[Any], None]]:
    """What the reader does for each opcode, after a look at how many there were and at the keys that it will hash."""

    def check_first(load: Callable[[Any], None], keys: slice) -> Callable[[Any], None]:
        def run(reader: Any) -> None:
            reader.steps += 1
            if reader.steps > MOST_STEPS:
                raise pickle.UnpicklingError("it is longer than any network's")
            for key in reader.stack[keys]:
                _check_key(key)
            load(reader)

        return run

    loads: dict[int, Callable[[Any], None]] = vars(pickle._Unpickler)["dispatch"]
    return {
        code: check_first(load, _KEYS.get(bytes([code]), slice(0)))
        for code, load in loads.items()
        if code not in _LEFT_OUT
    }


# The reader in Python: the one in C sets memory aside for any number that a file names.
class InertReader(pickle._Unpickler):
    """Reads one pickle.

    Attributes:
        steps: how many of its opcodes were read.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = _bound_steps()

    def __init__(self, file: BinaryIO, known: Known, *, strict: bool) -> None:
        """Prepare for reading.

        Args:
            file: read from where it stands.
            known: what stands in for names.
            strict: refuse names that ``known`` lacks, and what lies outside; else shells stand in for them.
        """
        super().__init__(file)
        self._known, self._strict = known, strict
        self.steps = 0

    def find_class(self, module: str, name: str) -> Any:
        """What stands in for a name.

        Raises:
            UnpicklingError: nothing does.
        """
        if self._strict and (module, name) not in self._known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no weights need")
        return self._known.get((module, name), Shell)

    def persistent_load(self, pid: object) -> Any:
        """None for numbers that lie elsewhere, which are never read.

        Raises:
            UnpicklingError: the pickle has to be whole.
        """
        if self._strict:
            raise pickle.UnpicklingError("it refers to things outside of itself")
        return None


def collect_tensors(module: object, kind: type[_Tensor]) -> dict[str, _Tensor]:
    """The tensors of a module and of those in it, named as in its ``state_dict``.

    Args:
        module: as ``InertReader`` reads it; of anything else there are none.
        kind: what was made of tensors.
    """
    found: dict[str, _Tensor] = {}
    _walk(module, "", kind, found, set())
    return found


def _walk(module: object, prefix: str, kind: type[_Tensor], found: dict[str, _Tensor], visited: set[int]) -> None:
    # Visit each object once: objects of a hostile file may refer to each other, or millions of times to one.
    if not isinstance(module, Shell) or id(module) in visited or prefix.count(".") > _DEEPEST:
        return
    visited.add(id(module))
    state = _table(module.state)
    # NVIDIA's modules have theirs within a description.
    state = _table(state["state"]) if isinstance(state.get("state"), dict) else state
    for group in ("_parameters", "_buffers"):
        found |= {f"{prefix}{name}": held for name, held in _named(state, group) if isinstance(held, kind)}
    for name, child in _named(state, "_modules"):
        _walk(child, f"{prefix}{name}.", kind, found, visited)


def _table(value: object) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _named(state: dict[Any, Any], group: str) -> list[tuple[str, object]]:
    return named_entries(_table(state.get(group)))


def named_entries(table: dict[Any, Any]) -> list[tuple[str, object]]:
    """The entries of a dictionary whose keys may be names of tensors or modules."""
    return [(name, value) for name, value in table.items() if isinstance(name, str) and len(name) <= _LONGEST_NAME]
