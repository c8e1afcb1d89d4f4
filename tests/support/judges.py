"""A server in every shape that a judge may be asked in, answered by one whose mind the test makes up."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from support.local_server import JsonHandler, listening

Mind = Callable[[str, str], Any]
"""(instructions, question) → what is answered: an object, or a text that is none."""


@dataclass
class Bench:
    """Where it listens, and what it was asked."""

    mind: Mind
    url: str = ""
    asked: list[str] = field(default_factory=list)


def poems_of(question: str) -> list[str]:
    """The poems in a question, in the order in which they stand."""
    return re.findall(r"【[甲乙詩]】\n(.*?)(?=\n\n【|\Z)", question, re.DOTALL)


def reader(better: Callable[[str], float]) -> Mind:
    """A judge who knows what it likes, in whatever order: what `better` gives more to; and gives half of all points."""

    def mind(_: str, question: str) -> Any:
        texts = poems_of(question)
        if "【現実】" in question:
            return {"numbers": [1, 2, 3, 4, 5]}
        if len(texts) == 1:
            return {"concealment": 20, "unity": 10, "voice": 8, "forbidden": 7, "length": 5}
        first, second = map(better, texts)
        word = "同" if first == second else "甲" if first > second else "乙"
        return dict.fromkeys(("overall", "unity", "voice"), word)

    return mind


def first_come(_: str, question: str) -> Any:
    """A judge who takes what stands first."""
    return (
        reader(len)(_, question) if len(poems_of(question)) < 2 else dict.fromkeys(("overall", "unity", "voice"), "甲")
    )


def nonsense(_: str, question: str) -> Any:
    """A judge who says nothing to the matter."""
    return f"よい詩ですね。{len(question)}"


@contextmanager
def judges(mind: Mind) -> Iterator[Bench]:
    """The server as long as this lasts: Gemini's, OpenAI's, Ollama's and Anthropic's shape."""
    bench = Bench(mind)

    class Handler(JsonHandler):
        def do_POST(self) -> None:
            self.tell(200, self._reply(json.loads(self.body())))

        def _reply(self, body: dict[str, Any]) -> dict[str, Any]:
            if self.path.endswith(":generateContent"):
                answer = self._say(
                    body["systemInstruction"]["parts"][0]["text"], body["contents"][0]["parts"][0]["text"]
                )
                usage = {"promptTokenCount": 100, "candidatesTokenCount": 10, "totalTokenCount": 110}
                candidate = {"content": {"role": "model", "parts": [{"text": answer}]}, "finishReason": "STOP"}
                return {"candidates": [candidate], "usageMetadata": usage}
            if self.path.endswith("/v1/messages"):
                answer = self._say(body["system"][0]["text"], body["messages"][0]["content"])
                tool = {"type": "tool_use", "name": "answer", "input": _object(answer)}
                return {
                    "content": [tool],
                    "stop_reason": "tool_use",
                    "usage": {"input_tokens": 100, "output_tokens": 10},
                }
            answer = self._say(body["messages"][0]["content"], body["messages"][1]["content"])
            usage = {"prompt_tokens": 100, "completion_tokens": 10}
            return {"choices": [{"message": {"content": answer}, "finish_reason": "stop"}], "usage": usage}

        def _say(self, instructions: str, question: str) -> str:
            bench.asked.append(question)
            found = bench.mind(instructions, question)
            return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    with listening(Handler) as bench.url:
        yield bench


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"said": text}
