"""Two keys → why they stand for different work, in the words of whoever changed something."""

from collections.abc import Iterator, Mapping
from typing import Any

from poem_build.store.artifact import Key

_SHOWN = 3


def difference(before: Key, now: Key) -> str:
    """What differs, empty if nothing does: "r was 16, is 32". A library that is not here has changed nothing."""
    if before.stage != now.stage:
        return f"it was made by {before.stage}"
    if before.report != now.report:
        return f"its report was of version {before.report}, now {now.report}"
    if settings := _settings(before, now):
        return "; ".join(settings)
    if roles := _changed(before.inputs, now.inputs):
        return f"{', '.join(roles)} changed"
    if packages := [name for name in now.packages if before.packages.get(name) != now.packages[name]]:
        return "; ".join(f"{name} was {before.packages.get(name)}, is {now.packages[name]}" for name in packages)
    if modules := _changed(before.code, now.code):
        more = f" and {len(modules) - _SHOWN} more" if len(modules) > _SHOWN else ""
        return f"code changed: {', '.join(modules[:_SHOWN])}{more}"
    return ""


def can_be_vouched_for(before: Key, now: Key) -> bool:
    """Whether only code, libraries or settings that did not exist before differ.

    With another value of a setting, or another input, it is other work.
    """
    known = {path for path, _ in _leaves(before.settings)}
    settings = {path: value for path, value in _leaves(now.settings) if path in known}
    same = settings == dict(_leaves(before.settings)) and before.inputs == now.inputs
    return same and (before.stage, before.report) == (now.stage, now.report)


def _settings(before: Key, now: Key) -> list[str]:
    old, new = dict(_leaves(before.settings)), dict(_leaves(now.settings))
    return [
        f"{path.removeprefix(f'{now.stage}.')} was {old.get(path)!r}, is {new.get(path)!r}"
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
