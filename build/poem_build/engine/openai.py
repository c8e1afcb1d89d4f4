"""Any server in the OpenAI shape → a model that answers."""

import time
from typing import Any

from poem_build.client import client, response_format
from poem_build.engine.protocol import Question, Reply
from poem_build.errors import WriterError

_TIMEOUT_S = 600.0


class OpenAI:
    """A model behind `/chat/completions`; `key` may be empty for a server of one's own."""

    def __init__(self, address: str, model: str, key: str) -> None:
        self.name = f"{model} at {address}"
        self._url, self._model = f"{address.rstrip('/')}/chat/completions", model
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def ask(self, question: Question) -> Reply:
        """The reply. Raises `WriterError` for a server that gives none."""
        import httpx

        start = time.monotonic()
        try:
            with client(self._url, _TIMEOUT_S) as there:
                reply = there.post(self._url, json=self.body(question), headers=self._headers)
            content = reply.raise_for_status().json()
            choice, usage = content["choices"][0], content.get("usage") or {}
            text = str(choice["message"].get("content") or "")
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            told = next(iter(str(error).splitlines()), type(error).__name__)  # httpx adds a second with an address
            raise WriterError(f"{self._url}: {told}; check address, model and key") from error
        seconds = time.monotonic() - start
        return Reply(
            text=text,
            ended=str(choice.get("finish_reason") or "stop"),
            seconds=seconds,
            prompt_tokens=usage.get("prompt_tokens", 0),
            tokens=usage.get("completion_tokens", 0),
        )

    def body(self, question: Question) -> dict[str, Any]:
        """The question as it goes over the wire."""
        body = {"model": self._model, "messages": question.messages, "seed": question.seed, **question.sampling}
        if question.schema is None:
            return body
        return body | {"response_format": response_format("poem", question.schema)}
