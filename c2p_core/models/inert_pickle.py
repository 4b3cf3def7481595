"""Reads pickles without running any code in them; does not import torch.

A pickle is a program: here it may only build plain containers, inert shells, and what the caller's builders make.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, ClassVar, TypeVar

from c2p_core.errors import Malformed

_MAX_DEPTH = 12  # nesting of modules
_MAX_NAME_LENGTH = 200  # of a tensor or module; no network comes near
# Opcodes of one pickle; the largest networks have a hundred thousand. Each can make an object larger than itself.
MAX_STEPS = 2_000_000
_MAX_AXES = 16

_Tensor = TypeVar("_Tensor")


class UnsafePickle(Malformed, pickle.UnpicklingError):
    """A pickle that asks for more than the weights of a network need."""


class Shell:
    """Stands in for any object that a pickle names, and keeps its state."""

    state: object = None

    def __init__(self, *args: object, **kwargs: object) -> None:
        # NVIDIA's modules are rebuilt from a description.
        if len(args) == 1:
            self.state = args[0]

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __call__(self, *args: object) -> Shell:
        return Shell()

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        """Ignored; lists have it."""

    def extend(self, values: object) -> None:
        """Ignored; lists have it."""

    add = append


class Builder:
    """A function that a pickle may call and can't change."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self._make = make

    def __call__(self, *arguments: object) -> object:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise UnsafePickle("pickle-changes-function")


class _InertDict(dict[Any, Any]):
    """Stands in for an ``OrderedDict``; attributes set by a pickle, such as torch's ``_metadata``, are dropped."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        pass


def _make_dict(pairs: object = None) -> _InertDict:
    result = _InertDict()
    if pairs is None:
        return result
    if not isinstance(pairs, list):
        raise UnsafePickle("pickle-dictionary-of-no-list")
    for name, value in pairs:
        _check_key(name)
        result[name] = value
    # Or a file could make the reader copy it again and again.
    pairs.clear()
    return result


def _make_size(extents: object) -> tuple[object, ...]:
    if not isinstance(extents, (list, tuple)) or len(extents) > _MAX_AXES:
        raise UnsafePickle("pickle-axes-too-many")
    return tuple(extents)


StandIns = Mapping[tuple[str, str], "Builder | type[Shell]"]
"""Stand-ins for the names in a pickle, by module and name."""

CONTAINERS: StandIns = {
    ("collections", "OrderedDict"): Builder(_make_dict),
    ("torch", "Size"): Builder(_make_size),
    ("torch._utils", "_rebuild_parameter"): Builder(lambda data, *more: data),
}


def _check_key(key: object) -> None:
    """Refuse a key whose hash could take forever: deeply nested tuples that each hold another one twice."""
    if isinstance(key, tuple) and any(isinstance(part, tuple) for part in key):
        raise UnsafePickle("pickle-keys-nested")


# Where the keys of a dictionary or set lie on the stack when one of these opcodes is read.
_KEYS = {
    pickle.SETITEM: slice(-2, -1),
    pickle.SETITEMS: slice(None, None, 2),
    pickle.DICT: slice(None, None, 2),
    pickle.ADDITEMS: slice(None),
    pickle.FROZENSET: slice(None),
}


# Mutable and out-of-band buffers, which no weights need: the reader allocates memory for any size that a file names.
_REFUSED_OPCODES = frozenset(pickle.BYTEARRAY8 + pickle.NEXT_BUFFER + pickle.READONLY_BUFFER)


def _build_dispatch() -> dict[int, Callable[[Any], None]]:
    """Build the handlers of opcodes, which first check the number of steps and the keys that will be hashed."""

    def check_first(load: Callable[[Any], None], keys: slice) -> Callable[[Any], None]:
        def run(reader: Any) -> None:
            reader.steps += 1
            if reader.steps > MAX_STEPS:
                raise UnsafePickle("pickle-too-long")
            for key in reader.stack[keys]:
                _check_key(key)
            load(reader)

        return run

    loads: dict[int, Callable[[Any], None]] = vars(pickle._Unpickler)["dispatch"]
    return {
        code: check_first(load, _KEYS.get(bytes([code]), slice(0)))
        for code, load in loads.items()
        if code not in _REFUSED_OPCODES
    }


# Python's own implementation: the one in C allocates memory for any size that a file names.
class InertReader(pickle._Unpickler):
    """Reads one pickle.

    Attributes:
        steps: how many of its opcodes were read.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = _build_dispatch()

    def __init__(self, file: BinaryIO, stand_ins: StandIns, *, strict: bool) -> None:
        """Prepare for reading.

        Args:
            file: read from its current position.
            stand_ins: replacements of names.
            strict: refuse names that ``stand_ins`` lacks, and external data; else shells or None replace them.
        """
        super().__init__(file)
        self._stand_ins, self._strict = stand_ins, strict
        self.steps = 0

    def find_class(self, module: str, name: str) -> Any:
        """Look up the stand-in for a name.

        Raises:
            UnsafePickle: there is none, and the reader is strict.
        """
        if self._strict and (module, name) not in self._stand_ins:
            raise UnsafePickle("pickle-name-unknown", name=f"{module}.{name}")
        return self._stand_ins.get((module, name), Shell)

    def persistent_load(self, pid: object) -> Any:
        """None, since external data are never read.

        Raises:
            UnsafePickle: the reader is strict.
        """
        if self._strict:
            raise UnsafePickle("pickle-refers-outside")
        return None


def collect_tensors(module: object, kind: type[_Tensor]) -> dict[str, _Tensor]:
    """Collect the tensors of a module and its submodules, named as in its ``state_dict``.

    Args:
        module: as ``InertReader`` reads it; anything else has no tensors.
        kind: the type that stands in for tensors.
    """
    tensors: dict[str, _Tensor] = {}
    _walk(module, "", kind, tensors, set())
    return tensors


def _walk(module: object, prefix: str, kind: type[_Tensor], tensors: dict[str, _Tensor], visited: set[int]) -> None:
    # Visit each object once: in a hostile file, objects may refer to each other, or to one object millions of times.
    if not isinstance(module, Shell) or id(module) in visited or prefix.count(".") > _MAX_DEPTH:
        return
    visited.add(id(module))
    state = _as_dict(module.state)
    # NVIDIA's modules have their state within a description.
    state = _as_dict(state["state"]) if isinstance(state.get("state"), dict) else state
    for group in ("_parameters", "_buffers"):
        tensors |= {f"{prefix}{name}": value for name, value in _list_group(state, group) if isinstance(value, kind)}
    for name, child in _list_group(state, "_modules"):
        _walk(child, f"{prefix}{name}.", kind, tensors, visited)


def _as_dict(value: object) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _list_group(state: dict[Any, Any], group: str) -> list[tuple[str, object]]:
    return list_named_entries(_as_dict(state.get(group)))


def list_named_entries(table: dict[Any, Any]) -> list[tuple[str, object]]:
    """The entries of a dictionary whose keys may be names of tensors or modules."""
    return [(name, value) for name, value in table.items() if isinstance(name, str) and len(name) <= _MAX_NAME_LENGTH]
