"""Gemini as a teacher, by Google's own client: structured answers, little thought, the fixed prompt kept for us."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import httpx

from poem_build.client import async_client, told
from poem_build.errors import TeacherError
from poem_build.recipe.teaching import Teaching
from poem_build.teacher.fields import checked, count, field, maybe
from poem_build.teacher.journal import Journal
from poem_build.teacher.money import Price
from poem_build.teacher.patience import patiently
from poem_build.teacher.protocol import HOUR, Ask, BusyError, Ended, FailedError, LostError, Said, Turn, Usage
from poem_build.teacher.wire import again, lost, passing, seconds_of, unread

# https://ai.google.dev/api/generate-content#FinishReason; what else there is says no more than that it ended.
ENDED: Mapping[str, Ended] = {
    "MAX_TOKENS": "length",
    "SAFETY": "safety",
    "RECITATION": "safety",
    "BLOCKLIST": "safety",
    "PROHIBITED_CONTENT": "safety",
    "SPII": "safety",
}
_RENEW = 0.5
"""The kept prompt is renewed when so much of its time is over."""
_GONE = (403, 404)
"""What Gemini answers for a kept prompt that is not there any more."""
KEY = "GEMINI_API_KEY"
ADDRESS = "GEMINI_BASE_URL"


class RefusedError(TeacherError):
    """Not taken, with that status."""

    def __init__(self, told: str, status: int) -> None:
        super().__init__(told)
        self.status = status


@dataclass
class _Kept:
    """A prompt that Gemini keeps for us: under which name, how many tokens, until when it is paid."""

    name: str
    tokens: int
    until: float


class Gemini:
    """A Gemini model."""

    name = "gemini"

    def __init__(
        self,
        spec: Teaching,
        key: str,
        address: str | None,
        price: Price,
        look_every_s: tuple[float, float] = (1.0, 60.0),
    ) -> None:
        """`price` says how the model is told to think least.

        `look_every_s`: from how many seconds to how many we wait before a running batch is looked at again.
        """
        from google import genai
        from google.genai import types

        self.model, self._spec, self._types, self._key = spec.model, spec, types, key
        self._price = price
        self.look_every_s = look_every_s
        self._http = async_client(address or "", spec.timeout_s)
        options = types.HttpOptions(
            base_url=address,
            timeout=round(spec.timeout_s * 1000),
            retry_options=types.HttpRetryOptions(attempts=1),  # what is asked again stands in the journal
            httpx_async_client=self._http,  # else it takes aiohttp where that is installed
        )
        self.client = genai.Client(api_key=key, vertexai=False, http_options=options)
        self._kept: dict[str, _Kept] = {}
        self._journal: Journal | None = None
        self._former: list[str] = []
        """Prompts that a process before this one had kept."""
        self._stored = 0.0
        """Token-hours that no answer has told of."""
        self._keeping = asyncio.Lock()
        self.looks = 0
        """How often a running batch was looked at."""
        self.not_kept = ""
        """Why the fixed prompt is sent each time."""

    async def say(self, ask: Ask, turns: Sequence[Turn]) -> Said:
        """The answer. Raises what the protocol says."""
        kept = await self._keep(ask.system)
        try:
            reply = await self._generate(ask, turns, kept)
        except RefusedError as error:
            if kept is None or error.status not in _GONE:
                raise
            self._forget(ask.system, kept)  # our clock stands still while the machine sleeps, Gemini's does not
            reply = await self._generate(ask, turns, await self._keep(ask.system))
        said = self.read(reply)
        stored, self._stored = self._stored, 0.0
        return replace(said, usage=replace(said.usage, stored=stored))

    async def _generate(self, ask: Ask, turns: Sequence[Turn], kept: str | None) -> Any:
        config = self.config(ask, kept)
        contents = self.contents(ask, turns)
        return await self._call(
            self.client.aio.models.generate_content(model=self.model, contents=contents, config=config)
        )

    def contents(self, ask: Ask, turns: Sequence[Turn]) -> list[Any]:
        """The question, and each answer with what was said of it."""
        texts = [("user", ask.user)]
        for turn in turns:
            texts += [("model", turn.text or "(空)"), ("user", again(turn))]
        types = self._types
        return [types.Content(role=role, parts=[types.Part(text=text)]) for role, text in texts]

    def config(self, ask: Ask, kept: str | None = None) -> Any:
        """How the answer is to be made."""
        return self._types.GenerateContentConfig(
            system_instruction=None if kept else ask.system,
            cached_content=kept,
            temperature=self._spec.temperature,
            max_output_tokens=self._spec.max_tokens + self._price.thinking,
            seed=ask.seed,
            response_mime_type="application/json",
            response_json_schema=dict(ask.schema),
            thinking_config=self._types.ThinkingConfig.model_validate(thinking_of(self._price)),
        )

    def inlined(self, ask: Ask, turns: Sequence[Turn]) -> Any:
        """The question as one of a batch, its key beside it."""
        return self._types.InlinedRequest(
            contents=self.contents(ask, turns), config=self.config(ask), metadata={"key": ask.key}
        )

    def read(self, reply: Any) -> Said:
        """What the library's answer says. Raises `LostError` if that cannot be understood."""
        try:
            return said_of(reply.model_dump(mode="json", by_alias=True, exclude_none=True))
        except ValueError as error:
            raise unread(error, self._key) from None

    def told(self, message: str | None) -> str:
        """What Gemini says in an error, fit to be shown."""
        return told(str(message), self._key)

    async def once(self, call: Any) -> Any:
        """What the call gives. Raises `RefusedError`, or `TeacherError` where it may have arrived all the same."""
        later = "what was answered is kept, try again later"
        try:
            return await self._call(call)
        except BusyError as error:
            raise RefusedError(f"gemini: {error}; {later}", 429) from error
        except (FailedError, LostError) as error:
            raise TeacherError(f"gemini: {error}; {later}") from error

    async def patiently(self, call: Callable[[], Any]) -> Any:
        """What the call gives, made anew while Gemini is busy or out of order. Raises `TeacherError` in the end."""
        return await patiently(self.name, lambda: self._call(call()))

    def note_in(self, journal: Journal) -> None:
        """Kept prompts stand in the journal from now on; those of a process that was killed are let go first."""
        self._journal = journal
        gone = {note["name"] for note in journal.notes if note["note"] == "let go"}
        self._former = [note["name"] for note in journal.notes if note["note"] == "kept" and note["name"] not in gone]

    async def _let_go(self, name: str) -> None:
        """Forget the kept prompt, since it is paid by the hour; one that cannot be reached ends by itself."""
        with suppress(TeacherError, BusyError, FailedError, LostError):
            await self._call(self.client.aio.caches.delete(name=name))

    def _forget(self, system: str, name: str) -> None:
        if (kept := self._kept.get(system)) and kept.name == name:  # else another question has made it anew
            del self._kept[system]

    async def _keep(self, system: str) -> str | None:
        """The name under which Gemini keeps the prompt for us, its time renewed; None if it is to be sent."""
        while self._former and self._journal:
            await self._let_go(name := self._former.pop())
            self._journal.note("let go", name=name)
        ttl = self._spec.cache_ttl_s
        if not ttl or self.not_kept:
            return None
        async with self._keeping:
            now = asyncio.get_running_loop().time()
            caches, types = self.client.aio.caches, self._types
            try:
                kept = self._kept.get(system)
                if kept and kept.until - now >= ttl * (1 - _RENEW):
                    return kept.name
                if kept is None or not await self._renewed(kept.name):
                    config = types.CreateCachedContentConfig(system_instruction=system, ttl=f"{ttl}s")
                    made = await self._call(caches.create(model=self.model, config=config))
                    tokens = (made.usage_metadata and made.usage_metadata.total_token_count) or len(system)
                    kept = self._kept[system] = _Kept(str(made.name), tokens, now)
                    if self._journal:
                        self._journal.note("kept", name=kept.name)
                self._stored += kept.tokens * (now + ttl - kept.until) / HOUR
                kept.until = now + ttl
                return kept.name
            except (TeacherError, FailedError, LostError) as error:  # too short a prompt to be kept, say
                self.not_kept = str(error)
                return None

    async def _renewed(self, name: str) -> bool:
        """Whether the kept prompt was still there to be renewed."""
        config = self._types.UpdateCachedContentConfig(ttl=f"{self._spec.cache_ttl_s}s")
        try:
            await self._call(self.client.aio.caches.update(name=name, config=config))
        except RefusedError as error:
            if error.status not in _GONE:
                raise
            return False
        return True

    async def close(self) -> None:
        """Let go of the kept prompts and the connections."""
        for kept in self._kept.values():
            await self._let_go(kept.name)
        await self._http.aclose()

    async def _call(self, call: Any) -> Any:
        from google.genai import errors

        try:
            return await call
        except errors.APIError as error:
            code = int(error.code or 0)
            if code == 429:
                headers = getattr(error.response, "headers", None) or {}
                raise BusyError(seconds_of(headers) or _delay(error.details)) from None
            if passing(code):
                raise FailedError(f"status {code}: {self.told(error.message)}") from None
            said = self.told(error.message)
            remedy = f"; is {KEY} right?" if code in (401, 403) or "API key not valid" in said else ""
            raise RefusedError(f"gemini: {self.model}: status {code}: {said}{remedy}", code) from None
        except (httpx.HTTPError, OSError, TimeoutError) as error:
            raise lost(error) from None
        except (ValueError, TypeError, AttributeError, RecursionError) as error:  # the client stumbles over the answer
            raise unread(error, self._key) from None


def thinking_of(price: Price) -> dict[str, Any]:
    """How a model is told to think as little as it can, as Gemini's JSON has it."""
    return {"thinkingLevel": price.thinking_level} if price.thinking_level else {"thinkingBudget": price.thinking}


def said_of(reply: Mapping[str, Any], above: str = "") -> Said:
    """The text, its tokens and its end in Gemini's answer, as JSON.

    Raises `ValueError` naming the field, `above` before it, that is not as it should be.
    """
    usage, where = maybe(reply, "usageMetadata", dict, above) or {}, f"{above}usageMetadata."
    prompt, cached, answer, thoughts = (
        count(usage, f"{kind}TokenCount", where) for kind in ("prompt", "cachedContent", "candidates", "thoughts")
    )
    if cached > prompt:
        raise ValueError(f"{where}promptTokenCount: fewer than were cached")
    tokens = Usage(prompt - cached, cached, answer + thoughts)
    candidates = maybe(reply, "candidates", list, above) or []
    if not candidates:  # the question itself was withheld
        return Said("", tokens, "safety")
    where = f"{above}candidates.0."
    one = checked(candidates[0], dict, where[:-1])
    parts = maybe(maybe(one, "content", dict, where) or {}, "parts", list, f"{where}content.") or []
    texts = []
    for n, part in enumerate(parts):
        name = f"{where}content.parts.{n}"
        text = field(part, "text", str, f"{name}.") if "text" in checked(part, dict, name) else ""
        texts.append("" if part.get("thought") else text)
    return Said("".join(texts), tokens, ENDED.get(str(one.get("finishReason")), "stop"))


def _delay(details: Any) -> float | None:
    """The delay that Google's error details ask for (`google.rpc.RetryInfo`), in seconds."""
    with suppress(KeyError, TypeError, AttributeError):
        for entry in details["error"]["details"]:
            if str(entry.get("@type")).endswith("RetryInfo"):
                return seconds_of({"retry-after": str(entry.get("retryDelay")).removesuffix("s")})
    return None
