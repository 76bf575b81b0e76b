"""Trees of River as plain JSON and back: known classes only, and nothing is ever called by name.

Each object stands once, by number, so that what is shared stays shared and depth does not matter.
Restoring makes empty objects of classes in a short list, and fills them. A name beyond the list is
refused: loading a stranger's file can run no code.
"""

from __future__ import annotations

import base64
import binascii
import collections
import functools
import math
import random
import statistics
import types
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, Final, final

import numpy as np

from thalweg.core.errors import ArtifactError

_ROOMS: Final = (
    "river.tree.hoeffding_tree_classifier",
    "river.tree.hoeffding_tree_regressor",
    "river.tree.hoeffding_adaptive_tree_classifier",
    "river.tree.hoeffding_adaptive_tree_regressor",
    "river.tree.nodes.",
    "river.tree.splitter.",
    "river.tree.split_criterion.",
    "river.tree.utils",
    "river.stats.",
    "river.proba.",
    "river.drift.adwin",
    "thalweg.training.online.nominal",
)
"""Where classes may be from whose objects are made empty and filled with their attributes."""

_COMPILED: Final = frozenset({("river._river_rust.drift", "AdaptiveWindowing")})
"""Compiled classes, which give what they hold as bytes and take it back."""

_FACTORIES: Final[dict[str, Callable[[], Any]]] = {
    "float": float,
    "int": int,
    "dict": dict,
    "list": list,
    "set": set,
}
"""What a dictionary may fill a gap with."""

_ATOMS: Final = (str, bool, int, type(None))
_ADVICE: Final = "It was saved by another version of River or of Thalweg, or not by Thalweg."


def dump(root: Any) -> list[Any]:
    """Give an object and all that it leads to as plain JSON.

    Returns
    -------
    list
        One entry for each object, the first for the root. See `load`.

    Raises
    ------
    ArtifactError
        Where something is of a class that is not known.
    """
    return _Walk().dump(root)


def load(entries: Any) -> Any:
    """Make what `dump` gave; it behaves as the first one would, down to the last bit.

    Raises
    ------
    ArtifactError
        Where a class is not known or an entry is none.
    """
    try:
        return _load(entries)
    except (
        AttributeError,
        binascii.Error,
        IndexError,
        KeyError,
        OverflowError,
        TypeError,
        ValueError,
    ) as error:
        raise ArtifactError(
            f"what a tree has learned cannot be read ({type(error).__name__})",
            "what was saved",
            _ADVICE,
        ) from None


@final
class _Walk:
    """Numbers objects as it meets them."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._objects: list[Any] = []  # holds them, so that no address is used twice

    def dump(self, root: Any) -> list[Any]:
        self._reference(root)
        entries: list[Any] = []
        while len(entries) < len(self._objects):
            entries.append(self._entry(self._objects[len(entries)]))
        return entries

    def _reference(self, value: Any) -> Any:
        """Give a value that is no object, or the number of one."""
        if type(value) in _ATOMS:
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"f": repr(value)}
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return [number]

    def _all(self, values: Iterable[Any]) -> list[Any]:
        return [self._reference(value) for value in values]

    def _entry(self, value: Any) -> list[Any]:
        found = type(value)
        plain = self._container(value)
        if plain is not None:
            return plain
        if found is random.Random:
            return ["random.Random", self._reference(value.getstate())]
        if found is statistics.NormalDist:
            return ["statistics.NormalDist", self._all((value.mean, value.stdev))]
        if isinstance(value, np.generic):
            return ["numpy", value.dtype.str, base64.b64encode(value.tobytes()).decode()]
        if (found.__module__, found.__qualname__) in _COMPILED:
            held = base64.b64encode(bytes(value.__getstate__())).decode()
            made = [*value.__getnewargs__()]
            return ["compiled", found.__module__, found.__qualname__, made, held]
        if isinstance(value, type):
            _class_of(value.__module__, value.__qualname__)
            return ["class", value.__module__, value.__qualname__]
        if isinstance(value, types.FunctionType | types.MethodType):
            owner, _, name = value.__qualname__.rpartition(".")
            _class_of(value.__module__, owner)
            bound = getattr(value, "__self__", None)
            return ["method", value.__module__, owner, name, [self._reference(bound)]]
        _class_of(found.__module__, found.__qualname__)
        if issubclass(found, dict):
            return ["keys", found.__module__, found.__qualname__, self._all(value)]
        own = dict(getattr(value, "__dict__", {}))
        if found.__module__.startswith("river.proba."):
            own.pop("_rng", None)  # for drawing samples, which trees never do; and it is large
        slots = _slots_of(found.__module__, found.__qualname__)
        own |= {name: getattr(value, name) for name in slots if hasattr(value, name)}
        return ["object", found.__module__, found.__qualname__, [*own], self._all(own.values())]

    def _container(self, value: Any) -> list[Any] | None:
        """Give the entry of a plain container; None for all else."""
        found = type(value)
        if found in {list, tuple}:
            return [found.__name__, self._all(value)]
        if found is set:  # of plain values, of which no order is told
            return ["set", self._all(sorted(value, key=lambda one: (str(type(one)), one)))]
        if found in {dict, collections.Counter}:
            return [found.__name__, self._pairs(value)]
        if found is collections.defaultdict:
            return ["defaultdict", _factory_name(value.default_factory), self._pairs(value)]
        if found is collections.deque:
            return ["deque", value.maxlen, self._all(value)]
        return None

    def _pairs(self, value: Mapping[Any, Any]) -> list[list[Any]]:
        return [self._all(value), self._all(value.values())]


@functools.cache
def _slots_of(module: str, name: str) -> dict[str, types.MemberDescriptorType]:
    """Give the slots of a class and of those above it."""
    slots: dict[str, types.MemberDescriptorType] = {}
    for one in reversed(_class_of(module, name).__mro__):
        slots |= {k: v for k, v in vars(one).items() if isinstance(v, types.MemberDescriptorType)}
    return slots


def _factory_name(factory: Any) -> str:
    for name, known in _FACTORIES.items():
        if known is factory:
            return name
    raise _foreign(repr(factory))


@functools.cache
def _class_of(module: str, name: str) -> type:
    """Find a class in the list.

    Raises
    ------
    ArtifactError
        Where it is none of the list's.
    """
    if not (isinstance(module, str) and isinstance(name, str)):
        raise _foreign(f"{module!r}.{name!r}")
    allowed = any(
        module == room or (room[-1] == "." and module.startswith(room)) for room in _ROOMS
    )
    if not (allowed and name.isidentifier()):
        raise _foreign(f"{module}.{name}")
    found = _import(module).__dict__.get(name)
    # A name that the module merely imported is not its own.
    if not isinstance(found, type) or found.__module__ != module:
        raise _foreign(f"{module}.{name}")
    return found


def _import(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise _foreign(module) from None


def _foreign(name: str) -> ArtifactError:
    return ArtifactError(
        f"what a tree has learned names {name}", "classes of River's trees alone", _ADVICE
    )


def _load(entries: Any) -> Any:
    made: list[Any] = [None] * len(entries)
    later: list[int] = []
    for number, entry in enumerate(entries):
        if entry[0] in _FIXED:
            later.append(number)
        else:
            made[number] = _empty(entry)
    ready = [entry[0] not in _FIXED for entry in entries]

    def value(reference: Any) -> Any:
        if isinstance(reference, list):
            (number,) = reference
            return made[number]
        return float(reference["f"]) if isinstance(reference, dict) else reference

    # What cannot be changed once it is made waits for what it holds.
    while later:
        waiting = []
        for number in later:
            held = entries[number][-1]
            if all(ready[one[0]] for one in held if isinstance(one, list)):
                made[number] = _FIXED[entries[number][0]](entries[number], [*map(value, held)])
                ready[number] = True
            else:
                waiting.append(number)
        if len(waiting) == len(later):
            raise ValueError
        later = waiting
    for number, entry in enumerate(entries):
        _fill(made[number], entry, value)
    return made[0]


def _empty(entry: list[Any]) -> Any:
    """Make what an entry says, with nothing in it yet."""
    what = entry[0]
    if what in _CONTAINERS:
        return _CONTAINERS[what]()
    if what == "defaultdict":
        return collections.defaultdict(_FACTORIES[entry[1]])
    if what == "deque":
        return collections.deque(maxlen=entry[1])
    if what == "class":
        return _class_of(entry[1], entry[2])
    if what == "numpy":
        kind = np.dtype(entry[1])
        if kind.kind not in "biuf":
            raise ValueError
        return np.frombuffer(base64.b64decode(entry[2]), kind)[0]
    if what == "compiled":
        if (entry[1], entry[2]) not in _COMPILED:
            raise _foreign(f"{entry[1]}.{entry[2]}")
        found = getattr(_import(entry[1]), entry[2])
        return found.__new__(found, *(one for one in entry[3] if type(one) in (int, float)))
    if what == "keys":
        found = _class_of(entry[1], entry[2])
        return dict.__new__(found)
    if what == "object":
        found = _class_of(entry[1], entry[2])
        return object.__new__(found)
    raise _foreign(str(what))


def _fill(made: Any, entry: list[Any], value: Callable[[Any], Any]) -> None:
    """Put into an empty thing what its entry says."""
    what, held = entry[0], entry[-1]
    if what in _FILLED and not isinstance(held, list):
        raise TypeError
    if what in {"dict", "Counter", "defaultdict"}:
        keys = [*map(value, held[0])]
        dict.update(made, zip(keys, map(value, held[1]), strict=True))
    elif what in {"list", "deque"}:
        made.extend(map(value, held))
    elif what == "keys":
        dict.update(made, dict.fromkeys(map(value, held)))
    elif what == "set":
        made.update(map(value, held))
    elif what == "random.Random":
        made.setstate(value(held))
    elif what == "compiled":
        made.__setstate__(base64.b64decode(held))
    elif what == "object":
        named, slots = entry[3], _slots_of(entry[1], entry[2])
        for name, one in zip(named, map(value, held), strict=True):
            if name in slots:
                slots[name].__set__(made, one)
            else:
                made.__dict__[name] = one


def _tuple(entry: list[Any], held: list[Any]) -> Any:
    del entry
    return tuple(held)


def _normal(entry: list[Any], held: list[Any]) -> Any:
    del entry
    return statistics.NormalDist(*map(float, held))


def _method(entry: list[Any], held: list[Any]) -> Any:
    """Find a method that objects of River's splitters hold."""
    _, module, owner, name, (bound,) = *entry[:4], held
    found = _class_of(module, owner).__dict__.get(name)
    if isinstance(found, staticmethod):
        found = found.__func__
    if not isinstance(found, types.FunctionType) or not name.startswith("_update_estimator"):
        raise _foreign(f"{module}.{owner}.{name}")
    return found if bound is None else types.MethodType(found, bound)


_FIXED: Final = {"tuple": _tuple, "statistics.NormalDist": _normal, "method": _method}
_FILLED: Final = frozenset({"list", "deque", "set", "keys", "object", *_FIXED})
_CONTAINERS: Final[dict[str, Callable[[], Any]]] = {
    "list": list,
    "dict": dict,
    "set": set,
    "Counter": collections.Counter,
    "random.Random": random.Random,
}
