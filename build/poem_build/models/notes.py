"""What a GGUF says of its model, for a base that games share and that can say nothing of one: a note in the template.

A comment of Go's, which writes nothing; Ollama gives the template back as it was given, and a service reads it there.
"""

import json
from collections.abc import Mapping


def noted(template: str, keys: Mapping[str, str]) -> str:
    """The template, and before it the keys with their texts; itself where none has one."""
    said = {key: text for key, text in keys.items() if text}
    if not said:
        return template
    told = json.dumps(said, separators=(",", ":")).replace("*/", "*\\/")  # which would end the comment
    return f"{{{{/* mansion_poem {told} */}}}}{template}"
