"""A GGUF's own chat template → the prompt's text, as the model's training library would render it.

The template is a stranger's program: it runs in Jinja's sandbox. What transformers adds to Jinja is here too:
`{% break %}`, `{% generation %}`, `raise_exception`, `strftime_now`, a `tojson` that leaves text as it is. A
template that refuses or forgets a system message gets the instructions at the head of the player's message.
"""

import json
from datetime import datetime
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from poem.prompt import Prompt
from poem_service.engine.protocol import Message
from poem_service.errors import EngineError, Reason, RefusedError

_FAULTS = (jinja2.TemplateError, TypeError, ValueError)
"""What a template that does not take its messages ends with."""


class ChatTemplate:
    """Raises `jinja2.TemplateError` for text that is no template."""

    def __init__(self, text: str) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        self._template = environment.from_string(text)

    def render(self, prompt: Prompt, **special: str) -> str:
        """The whole text up to where the answer begins. Raises `EngineError`."""
        try:
            text = self._rendered(prompt.messages(), special)
            if prompt.system in text:
                return text
        except _FAULTS:
            pass
        try:
            return self._rendered([{"role": "user", "content": prompt.text}], special)
        except _FAULTS as error:
            raise EngineError(Reason.UPSTREAM_ERROR, f"chat template: {error}") from error

    def render_chat(self, messages: list[Message], **special: str) -> str:
        """The same for a client's own messages, as they are. Raises `RefusedError` for those that it does not take."""
        try:
            return self._rendered(messages, special)
        except _FAULTS as error:
            raise RefusedError(Reason.UPSTREAM_ERROR, 400, f"chat template: {error}") from error

    def _rendered(self, messages: list[Message], special: dict[str, str]) -> str:
        return self._template.render(messages=messages, add_generation_prompt=True, enable_thinking=False, **special)


class _Generation(Extension):
    """`{% generation %}` marks what a model is trained on; here it only contains."""

    tags = {"generation"}  # noqa: RUF012  (jinja2's own declaration)

    def parse(self, parser: Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
