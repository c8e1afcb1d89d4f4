"""An object of JSON that somebody else wrote → its fields, each of its kind, or an error that names the field."""

import reprlib
from collections.abc import Mapping
from typing import Any, TypeVar

from poem_build.teacher.protocol import Said

T = TypeVar("T")
_KINDS: Mapping[type, str] = {str: "a text", dict: "an object", list: "a list", int: "a whole number"}
_MOST_TOKENS = 10**9
_repr = reprlib.Repr()
_repr.maxstring = 200


def shown(value: object) -> str:
    """A value for a message, cut where it is long."""
    return _repr.repr(value)


def checked(value: object, kind: type[T], name: str) -> T:
    """The value. Raises `ValueError` naming it where it is of another kind."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name}: {shown(value)} is not {_KINDS[kind]}")
    return value


def field(entry: Mapping[str, Any], name: str, kind: type[T], above: str = "") -> T:
    """What stands there. Raises `ValueError` naming it where it is missing or of another kind."""
    if name not in entry:
        raise ValueError(f"{above}{name}: missing")
    return checked(entry[name], kind, f"{above}{name}")


def maybe(entry: Mapping[str, Any], name: str, kind: type[T], above: str = "") -> T | None:
    """The same, where nothing or null may stand."""
    return None if entry.get(name) is None else field(entry, name, kind, above)


def count(usage: Mapping[str, Any], name: str, above: str) -> int:
    """A number of tokens, 0 where none is told. Raises `ValueError` naming a field that is no such number."""
    found = maybe(usage, name, int, above) or 0
    if not 0 <= found <= _MOST_TOKENS:
        raise ValueError(f"{above}{name}: {shown(found)} is no number of tokens")
    return found


def whole(said: Said, field: str) -> Said:
    """The answer itself. Raises `ValueError` for a text that no file can hold."""
    try:
        said.text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{field}: character {error.start + 1} is half of one") from error
    return said
