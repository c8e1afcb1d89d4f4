"""A stranger's JSON schema → the GBNF that llama.cpp in this process is given, or a refusal; it may not hurt us.

The library would end the process over what no token can go on with, and unrolls every repetition.
"""

import json
import re
from collections.abc import Callable

from poem_service.engine.protocol import Form
from poem_service.errors import Reason, RefusedError

_CHARACTERS = '{}[]":, \\/0123456789+-.eEtruefalsnull'
"""What such a grammar may ask for beside the schema's own words."""
_LONG = re.compile(r'"m(?:in|ax)(?:Length|Items)": \d{4,}|\{\d{0,20},?\d{4,}')
_DEAD_END = re.compile(r"\\(?:x00|u0000|U)|\[\^[^\]]*-")
"""Code point 0, those that may be none, and all but a range, which may leave nothing."""
_SET = re.compile(r'"(?:\\.|[^"\\])*"|(?P<set>\[(?:\\.|[^\]\\])*\])')
"""Of characters, outside the grammar's literals."""


def form_grammar(form: Form, can_spell: Callable[[str], bool]) -> str | None:
    """The grammar; None where any text will do. Raises `RefusedError`."""
    if form is None:
        return None
    schema = json.dumps({"type": "object"} if form == "json" else form, ensure_ascii=False)
    if not can_spell(schema + _CHARACTERS):
        raise _refusal("the vocabulary cannot spell what the schema asks for")
    if _LONG.search(schema):
        raise _refusal("the schema repeats something more than 999 times")
    from llama_cpp.llama_grammar import json_schema_to_gbnf

    try:
        gbnf = str(json_schema_to_gbnf(schema))
        for found in _SET.finditer(gbnf):
            re.compile(found["set"] or "")  # which refuses a range that runs backwards
    except Exception as error:  # whatever the schema does to the library's reader
        raise _refusal(f"the schema: {error!r}") from error
    if _DEAD_END.search(gbnf):
        raise _refusal("the schema asks for U+0000, a \\U escape or all but a range of characters")
    return gbnf


def _refusal(seen: str) -> RefusedError:
    return RefusedError(Reason.UPSTREAM_ERROR, 400, seen)
