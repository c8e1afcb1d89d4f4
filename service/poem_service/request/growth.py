"""The pieces of an answer's JSON text → the text of its poem as it grows."""

import json
import re

_THOUGHTS = re.compile(r"\s*<think>")
_THOUGHTS_END = "</think>"
_START = re.compile(r'"poem"\s*:\s*"')
_ESCAPE = re.compile(r'\\(?:u[0-9A-Fa-f]{4}|[^u])|["\\]')


class Growth:
    """Takes pieces; gives back what became readable. Never fails: a broken text just stops growing."""

    def __init__(self) -> None:
        self._rest = ""
        self._inside = False
        self._ended = False

    def feed(self, piece: str) -> str:
        if self._ended:
            return ""
        self._rest += piece
        if not self._inside:
            if _THOUGHTS.match(self._rest):
                if _THOUGHTS_END not in self._rest:
                    return ""
                self._rest = self._rest.rpartition(_THOUGHTS_END)[2]
            found = _START.search(self._rest)
            if found is None:
                return ""
            self._inside = True
            self._rest = self._rest[found.end() :]
        return self._readable()

    def _readable(self) -> str:
        """As much of the rest as ends with a whole character or escape, decoded."""
        end = 0
        for found in _ESCAPE.finditer(self._rest):
            if len(found.group()) == 1:  # the closing quote, or an escape that is not whole yet
                self._ended = found.group() == '"'
                end = found.start()
                break
        else:
            end = len(self._rest)
        ready, self._rest = self._rest[:end], self._rest[end:]
        try:
            return str(json.loads(f'"{ready}"', strict=False))
        except ValueError:
            self._ended = True
            return ""
