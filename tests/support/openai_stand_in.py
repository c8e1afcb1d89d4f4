"""The same server in the OpenAI shape, as llama-server, LM Studio and vLLM have it."""

import json
from dataclasses import dataclass
from typing import Any

from support.ollama_stand_in import Call, OllamaStandIn


@dataclass
class OpenAICall(Call):
    """One `/v1/chat/completions`."""

    thought: str = ""

    @property
    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["response_format"]["json_schema"]["schema"]
        return found

    @property
    def seed(self) -> int:
        return int(self.body["seed"])

    async def piece(self, text: str) -> None:
        self.said += text
        if self.streams:
            await self._event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})

    async def think(self, text: str) -> None:
        """Some of what a thinking model says to itself."""
        self.thought += text
        if self.streams:
            await self._event({"choices": [{"index": 0, "delta": {"reasoning_content": text}, "finish_reason": None}]})

    async def end(self, reason: str | None = "stop", *, done: bool = True) -> None:
        if not self.streams:
            message = {"role": "assistant", "content": self.said, "reasoning_content": self.thought}
            choice = {"index": 0, "message": message, "finish_reason": reason}
            body = {"choices": [choice], "usage": {"completion_tokens": len(self.said)}}
            await self.answer(200, self.raw or json.dumps(body, ensure_ascii=False).encode())
            return
        await self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        await self._event({"choices": [], "usage": {"completion_tokens": 9}})
        if done:
            await self.chunk(b"data: [DONE]\n\n")
        await self.terminate()

    async def fail(self, message: str) -> None:
        error = {"error": {"message": message, "type": "server_error"}}
        if self.streams:
            await self._event(error)
            await self.terminate()
        else:
            await self.answer(500, json.dumps(error).encode())

    async def _event(self, fields: dict[str, Any]) -> None:
        await self.chunk(b"data: " + json.dumps(fields, ensure_ascii=False).encode() + b"\n\n")


class OpenAIStandIn(OllamaStandIn):
    """The server."""

    def __init__(self) -> None:
        super().__init__(chat_path="/v1/chat/completions", call=OpenAICall)

    def _facts(self, path: str) -> dict[str, Any]:
        return {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
