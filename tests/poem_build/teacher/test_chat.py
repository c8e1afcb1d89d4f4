"""Teachers over plain HTTP against a real server that speaks their shapes."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from poem.game import builtin_game
from poem_build.data.course import Course
from poem_build.data.poems import read_poem
from poem_build.errors import TeacherError
from poem_build.teacher.chat import Anthropic, Ollama, OpenAI
from poem_build.teacher.money import FREE, Price, load_prices
from poem_build.teacher.protocol import BusyError, FailedError, LostError, Said, Turn, Usage
from support.course import some_asks, spec_of
from support.local_server import JsonHandler, listening

ASK = some_asks(1)[0]
Reply = tuple[int, dict[str, str], Any]


@contextmanager
def serving(
    reply: Reply, refuses: Callable[[Any], str] = lambda _: ""
) -> Iterator[tuple[str, list[tuple[str, dict[str, str], Any]]]]:
    """A server that gives one reply, or says why it refuses a question, and what it was asked."""
    seen: list[tuple[str, dict[str, str], Any]] = []

    class Handler(JsonHandler):
        def do_POST(self) -> None:
            body = json.loads(self.body())
            seen.append((self.path, {key.lower(): value for key, value in self.headers.items()}, body))
            why = refuses(body)
            status, headers, content = (400, {}, {"error": {"message": why}}) if why else reply
            self.answer(status, (content if isinstance(content, str) else json.dumps(content)).encode(), headers)

    with listening(Handler) as url:
        yield url, seen


def _completion(text: str, reason: str = "stop") -> Reply:
    usage = {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens": 3}
    return 200, {}, {"choices": [{"message": {"content": text}, "finish_reason": reason}], "usage": usage}


def _message(text: str, reason: str = "tool_use") -> Reply:
    usage = {"input_tokens": 6, "cache_read_input_tokens": 4, "output_tokens": 3}
    content = [{"type": "tool_use", "name": "answer", "input": {"title": text, "poem": text}}]
    return 200, {}, {"content": content, "stop_reason": reason, "usage": usage}


def _openai_or_message(make: Any) -> Reply:
    return _completion("答え") if make is _openai else _message("題")


def _thinker(body: Any) -> str:
    """Refuses what OpenAI's models that think do, in its words."""
    if "max_tokens" in body:
        return (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
    if body.get("temperature", 1) != 1:
        return "Unsupported value: 'temperature' does not support 0.9 with this model. Only the default (1) value"
    return ""


def _openai(url: str, price: Price = FREE) -> OpenAI:
    return OpenAI(spec_of(name="openai", model="m"), "a-key", f"{url}/v1", price)


def _ollama(url: str) -> Ollama:
    return Ollama(spec_of(name="ollama", model="m"), url)


def _anthropic(url: str) -> Anthropic:
    return Anthropic(spec_of(name="anthropic", model="m"), "a-key", url)


@pytest.mark.parametrize(
    ("make", "path", "key"),
    [(_openai, "/v1/chat/completions", "Bearer a-key"), (_ollama, "/v1/chat/completions", None)],
)
async def test_the_openai_shape(make: Callable[[str], OpenAI], path: str, key: str | None) -> None:
    with serving(_completion("答え")) as (url, seen):
        teacher = make(url)
        assert await teacher.say(ASK, [Turn("前の答え", "length: 短い")]) == Said("答え", Usage(6, 4, 3))
        await teacher.close()
    asked, headers, body = seen[0]
    assert (asked, headers.get("authorization"), body["model"]) == (path, key, "m")
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
    assert "length: 短い" in body["messages"][-1]["content"]
    assert body["response_format"]["json_schema"]["schema"] == ASK.schema
    assert (body["temperature"], body["max_tokens"]) == (0.9, 1024)
    assert not {"max_completion_tokens", "reasoning_effort"} & set(body)


@pytest.mark.parametrize("model", ["gpt-5-mini", "gpt-5.6-luna"])
async def test_a_model_of_openai_s_that_thinks_is_asked_as_it_takes_it(model: str) -> None:
    price = load_prices().models[model]
    with serving(_completion("答え"), _thinker) as (url, seen):
        teacher = _openai(url, price)
        assert (await teacher.say(ASK, [])).text == "答え"
        await teacher.close()
    body = seen[0][2]
    assert (body["max_completion_tokens"], body["reasoning_effort"]) == (1024 + 1024, "low")


@pytest.mark.parametrize(("limit", "named"), [("max_tokens", "max_tokens"), ("max_completion_tokens", "temperature")])
async def test_what_a_model_does_not_take_is_laid_to_the_price_list(limit: str, named: str) -> None:
    price = FREE.model_copy(update={"limit": limit})
    with serving(_completion("答え"), _thinker) as (url, _):
        teacher = _openai(url, price)
        with pytest.raises(TeacherError, match=f"status 400: .*'{named}'.*; say in the price list what m takes: limit"):
            await teacher.say(ASK, [])
        await teacher.close()


async def test_anthropics_shape() -> None:
    with serving(_message("題")) as (url, seen):
        teacher = _anthropic(url)
        said = await teacher.say(ASK, [Turn("前の答え", "length: 短い")])
        await teacher.close()
    assert said == Said('{"title": "題", "poem": "題"}', Usage(6, 4, 3))
    asked, headers, body = seen[0]
    assert (asked, headers["x-api-key"], headers["anthropic-version"]) == ("/v1/messages", "a-key", "2023-06-01")
    assert body["tools"][0]["input_schema"] == ASK.schema
    assert body["tool_choice"] == {"type": "tool", "name": "answer"}
    assert body["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("make", "reply", "ended"),
    [
        (_openai, _completion("途中", "length"), "length"),
        (_openai, _completion("", "content_filter"), "safety"),
        (_anthropic, _message("途中", "max_tokens"), "length"),
        (_anthropic, _message("", "refusal"), "safety"),
    ],
)
async def test_why_it_ended_is_understood(make: Any, reply: Reply, ended: str) -> None:
    with serving(reply) as (url, _):
        teacher = make(url)
        assert (await teacher.say(ASK, [])).ended == ended
        await teacher.close()


@pytest.mark.parametrize("make", [_openai, _ollama, _anthropic])
@pytest.mark.parametrize(
    ("reply", "error", "message"),
    [
        ((429, {"Retry-After": "7"}, {}), BusyError, "429"),
        ((503, {}, {}), FailedError, "status 503"),
        ((408, {}, {}), FailedError, "status 408"),
        *(((200, {}, text), LostError, "cannot be read") for text in ("no json", "null", "3", "[1]", "[" * 100_000)),
        ((401, {}, {"error": "wrong key"}), TeacherError, "status 401: .*wrong key.*check address, model and key"),
    ],
)
async def test_what_goes_wrong_is_one_of_four_kinds(
    make: Any, reply: Reply, error: type[Exception], message: str
) -> None:
    with serving(reply) as (url, _):
        teacher = make(url)
        with pytest.raises(error, match=message) as caught:
            await teacher.say(ASK, [])
        await teacher.close()
    assert "a-key" not in str(caught.value)
    assert getattr(caught.value, "seconds", 7) == 7


@pytest.mark.parametrize(
    ("make", "changed", "message"),
    [
        (_openai, {"choices": []}, "the answer is no chat completion"),
        (_openai, {"usage": [1]}, r"usage: \[1\] is not an object"),
        (_openai, {"usage": {"prompt_tokens": "…a-key"}}, "usage.prompt_tokens: '……' is not a whole number"),
        (_openai, {"usage": {"prompt_tokens_details": [1]}}, r"usage.prompt_tokens_details: \[1\] is not an object"),
        (_openai, {"usage": {"completion_tokens": -5}}, "usage.completion_tokens: -5 is no number of tokens"),
        (_openai, {"usage": {"completion_tokens": 1e999}}, "usage.completion_tokens: inf is not a whole number"),
        (
            _openai,
            {"usage": {"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}},
            "usage.prompt_tokens: fewer than were cached",
        ),
        (_anthropic, {"content": "x"}, "content: 'x' is not a list"),
        (_anthropic, {"content": ["x"]}, "content.0: 'x' is not an object"),
        (_anthropic, {"content": [{"type": "tool_use"}]}, "content.input: missing"),
        (_anthropic, {"usage": {"output_tokens": -1}}, "usage.output_tokens: -1 is no number of tokens"),
    ],
)
async def test_an_answer_that_cannot_be_read_may_have_been_paid_for(
    make: Any, changed: dict[str, Any], message: str
) -> None:
    _, _, content = _openai_or_message(make)
    with serving((200, {}, content | changed)) as (url, _):
        teacher = make(url)
        with pytest.raises(LostError, match=f"^the answer cannot be read: {message}$"):
            await teacher.say(ASK, [])
        await teacher.close()


async def test_a_count_that_is_null_is_none() -> None:
    _, _, content = _message("題")
    with serving((200, {}, content | {"usage": {"input_tokens": None}})) as (url, _):
        teacher = _anthropic(url)
        assert (await teacher.say(ASK, [])).usage == Usage()
        await teacher.close()


@pytest.mark.parametrize("make", [_openai, _anthropic])
async def test_a_key_that_the_server_repeats_is_not_shown(make: Any) -> None:
    for before in ("", "x" * 196):  # whole, and where the line ends
        with serving((401, {}, f"{before}a-key")) as (url, _):
            teacher = make(url)
            with pytest.raises(TeacherError, match=f"status 401: {before}…; check") as caught:
                await teacher.say(ASK, [])
            await teacher.close()
        assert "a-ke" not in str(caught.value)


@pytest.mark.parametrize("make", [_openai, _anthropic])
async def test_a_password_in_the_address_is_not_shown(make: Any) -> None:
    with serving((401, {}, "who are you?")) as (url, seen):
        teacher = make(url.replace("://", "://me:hunter2@"))
        with pytest.raises(
            TeacherError, match=r"http://\(not shown\)@127\.0\.0\.1:\d+/v1/.*: status 401: who"
        ) as caught:
            await teacher.say(ASK, [])
        await teacher.close()
    assert seen
    assert "hunter2" not in str(caught.value)


async def test_each_model_of_ollama_s_is_asked_and_has_answers_of_its_own(tmp_path: Path) -> None:
    with serving(_completion("")) as (url, seen):
        for model in ("model-a:7b", "model-b:1b", "model-a:7b"):
            spec = spec_of(name="ollama", model=model, tries=1)
            teacher = Ollama(spec, url)
            course = Course(builtin_game(), None, tmp_path / "out" / "teacher", teacher, spec, load_prices(), FREE)
            with closing(course.journal("poems", "a prompt")) as journal:
                await course.settle(course.asking(journal, read_poem), iter([ASK]), None, "test")
                paid = course.close("poems", journal)
            await teacher.close()
    assert [body["model"] for _, _, body in seen] == ["model-a:7b", "model-b:1b"]
    assert (list(paid["models"]), paid["usd"]) == (["model-a:7b"], 0)


async def test_a_server_that_is_not_there_costs_nothing() -> None:
    teacher = _openai("http://127.0.0.1:9")
    with pytest.raises(FailedError, match="no connection"):
        await teacher.say(ASK, [])
    await teacher.close()
