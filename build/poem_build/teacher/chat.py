"""Teachers that are asked over plain HTTP: any server in the OpenAI shape, Ollama's own among them, and Anthropic's."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import httpx

from poem.environment import without_passwords
from poem_build.client import async_client, response_format, told
from poem_build.errors import TeacherError
from poem_build.recipe.teaching import Teaching
from poem_build.teacher.fields import checked, count, field, maybe
from poem_build.teacher.money import FREE, Price
from poem_build.teacher.protocol import Ask, BusyError, Ended, FailedError, Said, Turn, Usage
from poem_build.teacher.wire import again, lost, passing, seconds_of, unread


class _Http:
    """What both shapes have in common: a client, and what a status means."""

    name: ClassVar[str]

    def __init__(self, spec: Teaching, address: str, key: str, headers: Mapping[str, str]) -> None:
        self.model, self._spec, self._key = spec.model, spec, key
        self._address = address.rstrip("/")
        self._client = async_client(address, spec.timeout_s, headers)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def _post(self, path: str, body: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Said]) -> Said:
        url = f"{self._address}{path}"
        try:
            reply = await self._client.post(url, json=body)
        except (httpx.HTTPError, OSError) as error:
            raise lost(error) from None
        if reply.status_code == 429:
            raise BusyError(seconds_of(reply.headers))
        if passing(reply.status_code):
            raise FailedError(f"status {reply.status_code}")
        if reply.status_code >= 400:
            where, said = without_passwords(url), told(reply.text, self._key)
            raise TeacherError(f"{self.name}: {where}: status {reply.status_code}: {said}; {self._remedy(said)}")
        try:
            return read(checked(reply.json(), dict, "the whole"))
        except (ValueError, RecursionError, FailedError) as error:
            raise unread(error, self._key) from None

    def _remedy(self, said: str) -> str:
        return "check address, model and key"


class OpenAI(_Http):
    """A model behind `/chat/completions`; its price tells what it has to be asked by."""

    name = "openai"

    def __init__(self, spec: Teaching, key: str, address: str, price: Price) -> None:
        super().__init__(spec, address, key, {"Authorization": f"Bearer {key}"} if key else {})
        self._price = price

    async def say(self, ask: Ask, turns: Sequence[Turn]) -> Said:
        """The answer. Raises what the protocol says."""
        return await self._post("/chat/completions", self.body(ask, turns), completion)

    def body(self, ask: Ask, turns: Sequence[Turn] = ()) -> dict[str, Any]:
        """The question as it goes over the wire."""
        return openai_body(self._spec, self._price, ask, turns)

    def _remedy(self, said: str) -> str:
        if "Unsupported" not in said:  # so OpenAI begins what it says of a parameter
            return super()._remedy(said)
        taken = 'limit = "max_completion_tokens", temperature = false, another thinking_level'
        return f"say in the price list what {self.model} takes: {taken}"


class Ollama(OpenAI):
    """A local model; nothing is paid for it."""

    name = "ollama"

    def __init__(self, spec: Teaching, host: str) -> None:
        super().__init__(spec, "", f"{host.rstrip('/')}/v1", FREE)


class Anthropic(_Http):
    """A model behind Anthropic's `/v1/messages`; the answer is the input of the one tool that it must use."""

    name = "anthropic"

    def __init__(self, spec: Teaching, key: str, address: str) -> None:
        super().__init__(spec, address, key, {"x-api-key": key, "anthropic-version": "2023-06-01"})

    async def say(self, ask: Ask, turns: Sequence[Turn]) -> Said:
        """The answer. Raises what the protocol says."""
        messages: list[dict[str, Any]] = [{"role": "user", "content": ask.user}]
        for turn in turns:
            messages += [
                {"role": "assistant", "content": turn.text or "(空)"},
                {"role": "user", "content": again(turn)},
            ]
        body = {
            "model": self.model,
            "max_tokens": self._spec.max_tokens,
            "temperature": min(self._spec.temperature, 1.0),  # theirs ends at 1
            "system": [{"type": "text", "text": ask.system, "cache_control": {"type": "ephemeral"}}],
            "messages": messages,
            "tools": [{"name": "answer", "description": "答え", "input_schema": dict(ask.schema)}],
            "tool_choice": {"type": "tool", "name": "answer"},
        }
        return await self._post("/v1/messages", body, message)


def openai_body(spec: Teaching, price: Price, ask: Ask, turns: Sequence[Turn] = ()) -> dict[str, Any]:
    """A question in the OpenAI shape, with what the model takes."""
    messages = [{"role": "system", "content": ask.system}, {"role": "user", "content": ask.user}]
    for turn in turns:
        messages += [{"role": "assistant", "content": turn.text}, {"role": "user", "content": again(turn)}]
    temperature = {"temperature": spec.temperature} if price.temperature else {}
    effort = {"reasoning_effort": price.thinking_level} if price.thinking_level else {}
    return {
        "model": spec.model,
        "messages": messages,
        **temperature,
        **effort,
        price.limit: spec.max_tokens + price.thinking,
        "seed": ask.seed,
        "response_format": response_format("answer", ask.schema),
    }


def completion(reply: Mapping[str, Any], above: str = "") -> Said:
    """The text, its tokens and its end in a chat completion.

    Raises `FailedError` if it is none, `ValueError` naming the field, `above` before it, of a count that is none.
    """
    usage, where = maybe(reply, "usage", dict, above) or {}, f"{above}usage."
    details = maybe(usage, "prompt_tokens_details", dict, where) or {}
    cached = count(details, "cached_tokens", f"{where}prompt_tokens_details.")
    if (prompt := count(usage, "prompt_tokens", where)) < cached:
        raise ValueError(f"{where}prompt_tokens: fewer than were cached")
    try:
        choice = reply["choices"][0]
        text = choice["message"].get("content") or ""
    except (KeyError, IndexError, TypeError, AttributeError):
        raise FailedError("the answer is no chat completion") from None
    if not isinstance(text, str):
        raise FailedError("the answer is no chat completion of one text")
    reasons: Mapping[str, Ended] = {"length": "length", "content_filter": "safety"}
    tokens = Usage(prompt - cached, cached, count(usage, "completion_tokens", where))
    return Said(text, tokens, reasons.get(str(choice.get("finish_reason")), "stop"))


def message(reply: Mapping[str, Any]) -> Said:
    """The same in an answer of Anthropic's. Raises `ValueError` naming a field that is not as it should be."""
    usage = maybe(reply, "usage", dict) or {}
    asked, made, cached, output = (
        count(usage, f"{kind}_tokens", "usage.")
        for kind in ("input", "cache_creation_input", "cache_read_input", "output")
    )
    parts = [checked(part, dict, f"content.{n}") for n, part in enumerate(maybe(reply, "content", list) or [])]
    found = [field(part, "input", dict, "content.") for part in parts if part.get("type") == "tool_use"]
    reasons: Mapping[str, Ended] = {"max_tokens": "length", "refusal": "safety"}
    text = json.dumps(found[0], ensure_ascii=False) if found else ""
    return Said(text, Usage(asked + made, cached, output), reasons.get(str(reply.get("stop_reason")), "stop"))
