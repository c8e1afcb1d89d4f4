"""The same server in the OpenAI shape, as llama-server, LM Studio and vLLM have it."""

import json
from typing import Any

from support.ollama_stand_in import Call, OllamaStandIn


class OpenAICall(Call):
    """One `/v1/chat/completions`."""

    @property
    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["response_format"]["json_schema"]["schema"]
        return found

    @property
    def seed(self) -> int:
        return int(self.body["seed"])

    async def piece(self, text: str) -> None:
        await self._event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})

    async def end(self, reason: str | None = "stop", *, done: bool = True) -> None:
        await self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        await self._event({"choices": [], "usage": {"completion_tokens": 9}})
        if done:
            await self.chunk(b"data: [DONE]\n\n")
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def fail(self, message: str) -> None:
        await self._event({"error": {"message": message, "type": "server_error"}})

    async def _event(self, fields: dict[str, Any]) -> None:
        await self.chunk(b"data: " + json.dumps(fields, ensure_ascii=False).encode() + b"\n\n")


class OpenAIStandIn(OllamaStandIn):
    """The server."""

    def __init__(self) -> None:
        super().__init__(chat_path="/v1/chat/completions", call=OpenAICall)

    def _facts(self, path: str) -> dict[str, Any]:
        return {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
