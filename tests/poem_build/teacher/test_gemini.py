import asyncio
import json
import time
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from poem.game import builtin_game
from poem.hand import Answer
from poem.shape import encode
from poem_build.data.course import Course
from poem_build.data.poems import instructions, read_poem
from poem_build.errors import TeacherError
from poem_build.teacher.asking import Ahead, Settled
from poem_build.teacher.batch import still_out
from poem_build.teacher.protocol import Ask
from support.course import course_of, some_asks
from support.gemini_stand_in import KEY, Fault, GeminiStandIn

GAME = builtin_game()


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """A room whose neighbours are this test's: what lies there is taken over."""
    room = tmp_path / "out" / "teacher"
    room.mkdir(parents=True)
    return room


async def _settle(course: Course, asks: list[Ask], wanted: int | None = None) -> tuple[list[Settled[Answer]], int]:
    """What becomes of the questions, and how many went out."""
    journal = course.journal("poems", instructions(GAME))
    try:
        asking = course.asking(journal, read_poem)
        settled = await course.settle(asking, iter(asks), wanted, "test")
        course.close("poems", journal)
        course.put_aside("poems", settled)
        return settled, asking.asked
    finally:
        journal.close()
        await course.teacher.close()


async def test_every_question_is_asked_as_the_recipe_says(gemini: GeminiStandIn, tmp_path: Path) -> None:
    asks = some_asks(3)
    settled, _ = await _settle(course_of(gemini.url, tmp_path), asks)
    assert [one.ask for one in settled] == asks
    assert all(one.answer for one in settled)
    body = gemini.bodies[0]
    config = body["generationConfig"]
    assert config["temperature"] == 0.9
    assert config["maxOutputTokens"] == 1024
    assert config["thinkingConfig"] == {"thinking_budget": 0}  # as the client writes it; both spellings are read
    assert config["responseMimeType"] == "application/json"
    assert set(config["responseJsonSchema"]["properties"]) == {"title", "poem"}
    assert GAME.instructions in body["systemInstruction"]["parts"][0]["text"]


@pytest.mark.parametrize(
    ("model", "thinking", "room"),
    [
        ("gemini-2.5-flash-lite", {"thinking_budget": 0}, 0),
        ("gemini-2.5-pro", {"thinking_budget": 128}, 128),
        ("gemini-3-pro-preview", {"thinking_level": "LOW"}, 1024),
    ],
)
async def test_a_model_thinks_as_little_as_it_can_and_has_room_for_it(
    gemini: GeminiStandIn, tmp_path: Path, model: str, thinking: dict[str, Any], room: int
) -> None:
    await _settle(course_of(gemini.url, tmp_path, model=model), some_asks(1))
    config = gemini.bodies[0]["generationConfig"]
    assert (config["thinkingConfig"], config["maxOutputTokens"]) == (thinking, 1024 + room)


async def test_a_question_that_is_refused_is_not_laid_to_the_key(gemini: GeminiStandIn, tmp_path: Path) -> None:
    gemini.faults = [Fault(status=400)]
    with pytest.raises(TeacherError, match=r"status 400: on demand$"):
        await _settle(course_of(gemini.url, tmp_path), some_asks(1))


async def test_what_was_answered_is_never_asked_again(gemini: GeminiStandIn, tmp_path: Path) -> None:
    first, asked = await _settle(course_of(gemini.url, tmp_path), some_asks(5))
    again, asked_again = await _settle(course_of(gemini.url, tmp_path), some_asks(8))
    assert (asked, asked_again) == (5, 3)
    assert again[:5] == first
    assert len(gemini.asked) == len(set(gemini.asked)) == 8


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429, headers={"Retry-After": "0.1"}),
        Fault(status=408),
        Fault(status=500),
        Fault(status=503),
        *(
            Fault(status=429, headers={"Retry-After": "soon"}, body=json.dumps({"error": error}))
            for error in ("slow", {"details": ["x"]}, {"details": None}, {"details": [{"@type": "…RetryInfo"}]})
        ),
    ],
)
async def test_a_passing_fault_is_waited_out_and_costs_nothing(
    gemini: GeminiStandIn, tmp_path: Path, fault: Fault
) -> None:
    gemini.faults = [fault, fault]
    settled, asked = await _settle(course_of(gemini.url, tmp_path, at_once=1), some_asks(2))
    assert [one.answer is not None for one in settled] == [True, True]
    assert asked == 4
    paid = json.loads((tmp_path / "ledger.json").read_text("utf-8"))["poems"]
    assert paid["in_doubt_usd"] == 0
    assert paid["models"]["gemini-2.5-flash"]["answers"] == 2


async def test_retry_after_is_kept_to(gemini: GeminiStandIn, tmp_path: Path) -> None:
    gemini.faults = [Fault(status=429, headers={"Retry-After": "1"})]
    start = time.monotonic()
    await _settle(course_of(gemini.url, tmp_path, at_once=1), some_asks(1))
    assert time.monotonic() - start >= 1


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        (Fault(finish="SAFETY"), "withheld"),
        (Fault(withheld=True), "withheld"),
        (Fault(finish="MAX_TOKENS"), "cut off"),
        (Fault(text="これは JSON ではない"), "malformed"),
        (Fault(text=encode(Answer("題", "短い。"))), "length"),
    ],
)
async def test_an_answer_that_will_not_do_is_asked_again_with_the_verdict_shown(
    gemini: GeminiStandIn, tmp_path: Path, fault: Fault, verdict: str
) -> None:
    gemini.faults = [fault]
    settled, asked = await _settle(course_of(gemini.url, tmp_path), some_asks(1))
    assert settled[0].answer is not None
    assert asked == 2
    said = [part["text"] for content in gemini.bodies[-1]["contents"] for part in content["parts"]]
    assert len(said) == 3
    assert verdict in said[2]


async def test_after_three_tries_a_hand_is_put_aside_with_its_reason_and_replaced(
    gemini: GeminiStandIn, tmp_path: Path
) -> None:
    gemini.faults = [Fault(text=encode(Answer("題", "短い。")))] * 3
    settled, asked = await _settle(course_of(gemini.url, tmp_path, at_once=1), some_asks(9), wanted=3)
    assert [one.answer is not None for one in settled] == [False, True, True, True]
    assert asked == 6
    aside = [json.loads(line) for line in (tmp_path / "aside-poems.jsonl").read_text("utf-8").splitlines()]
    assert [one["ask"] for one in aside] == [settled[0].ask.key]
    assert "length: poem: 3 characters" in aside[0]["reason"]
    _, asked = await _settle(course_of(gemini.url, tmp_path, at_once=1), some_asks(9), wanted=3)
    assert asked == 0


@pytest.mark.parametrize("batch", [False, True])
async def test_a_teacher_without_a_poem_is_not_asked_for_ever(
    gemini: GeminiStandIn, tmp_path: Path, batch: bool
) -> None:
    poet, gemini.write = gemini.write, lambda *_: "{}"
    with pytest.raises(TeacherError, match=r"gemini: 20 hands put aside, 20 of them in a row, the last for: malformed"):
        await _settle(course_of(gemini.url, tmp_path, batch=batch, at_once=1), some_asks(60), wanted=20)
    assert len(gemini.asked) == 3 * 20
    gemini.write = poet
    settled, _ = await _settle(course_of(gemini.url, tmp_path, batch=batch), some_asks(60), wanted=20)
    assert sum(one.answer is not None for one in settled) == 20  # what was put aside before does not count again


async def test_no_more_than_two_hands_are_put_aside_for_each_that_is_wanted(
    gemini: GeminiStandIn, tmp_path: Path
) -> None:
    asks, poet = some_asks(90), gemini.write
    good = {ask.user for ask in asks[::10]}
    gemini.write = lambda system, question, turns: poet(system, question, turns) if question in good else "{}"
    with pytest.raises(TeacherError, match=r"gemini: 25 hands put aside, 7 of them in a row"):
        await _settle(course_of(gemini.url, tmp_path, at_once=1, tries=1), asks, wanted=12)


async def test_an_answer_that_never_comes_is_in_doubt_and_asked_again(gemini: GeminiStandIn, tmp_path: Path) -> None:
    gemini.faults = [Fault(hang_s=3.0)]
    settled, asked = await _settle(course_of(gemini.url, tmp_path, timeout_s=1.5), some_asks(1))
    assert settled[0].answer is not None
    assert asked == 2
    assert json.loads((tmp_path / "ledger.json").read_text("utf-8"))["poems"]["in_doubt_usd"] > 0


def _counted(text: str = "{}", **usage: Any) -> str:
    candidates = [{"content": {"parts": [{"text": text}]}, "finishReason": "STOP"}]
    return json.dumps({"candidates": candidates, "usageMetadata": usage})


@pytest.mark.parametrize(
    "body",
    [
        "no json",
        "[" * 100_000,
        json.dumps({"candidates": 3}),
        _counted(promptTokenCount="12x"),
        _counted(promptTokenCount=-1_000_000),
        _counted(candidatesTokenCount=1e999),
        _counted(promptTokenCount=3, cachedContentTokenCount=4),
    ],
)
async def test_an_answer_that_cannot_be_read_is_in_doubt_and_asked_again(
    gemini: GeminiStandIn, tmp_path: Path, body: str
) -> None:
    gemini.faults = [Fault(body=body)]
    settled, asked = await _settle(course_of(gemini.url, tmp_path), some_asks(1))
    assert settled[0].answer is not None
    assert asked == 2
    paid = json.loads((tmp_path / "ledger.json").read_text("utf-8"))["poems"]
    assert paid["in_doubt_usd"] > 0
    assert paid["models"]["gemini-2.5-flash"]["answers"] == 1


async def test_an_answer_of_a_batch_that_cannot_be_read_is_in_doubt(gemini: GeminiStandIn, tmp_path: Path) -> None:
    generate = gemini.generate
    gemini.generate = lambda body, fault: (  # type: ignore[method-assign]
        generate(body, fault)
        if gemini.batches or gemini.asked
        else json.loads(_counted(promptTokenCount=-1) or str(fault))
    )
    with pytest.raises(TeacherError, match="ended as JOB_STATE_SUCCEEDED without an answer"):
        await _settle(course_of(gemini.url, tmp_path, batch=True), some_asks(1))
    settled, asked = await _settle(course_of(gemini.url, tmp_path, batch=True), some_asks(1))
    assert settled[0].answer is not None
    assert asked == 1
    assert json.loads((tmp_path / "ledger.json").read_text("utf-8"))["poems"]["in_doubt_usd"] > 0


async def test_half_a_character_costs_no_answer(gemini: GeminiStandIn, tmp_path: Path) -> None:
    broken = encode(Answer("題\ud83d", "詩。"))
    gemini.faults = [Fault(body=_counted(broken)), Fault(body=_counted('{"title":"\\ud83d","poem":"\\ud83d"}'))]
    settled, asked = await _settle(course_of(gemini.url, tmp_path, at_once=1), some_asks(1))
    assert settled[0].answer is not None
    assert (asked, len(gemini.asked)) == (3, 1)
    (path,) = tmp_path.glob("poems-*.jsonl")
    texts = [json.loads(line)["text"] for line in path.read_text("utf-8").splitlines() if '"answered"' in line]
    assert texts[0] == encode(Answer("題\ufffd", "詩。"))
    assert len(texts) == 3


async def test_an_answer_is_kept_whatever_its_judge_stumbles_over(gemini: GeminiStandIn, tmp_path: Path) -> None:
    def stumble(*_: object) -> Answer:
        raise OverflowError("cannot convert float infinity to integer")

    course = course_of(gemini.url, tmp_path)
    with closing(course.journal("poems", "")) as journal, pytest.raises(OverflowError):
        await course.settle(course.asking(journal, stumble), iter(some_asks(1)), None, "test")
    await course.teacher.close()
    assert (len(gemini.asked), len(journal.paid), journal.in_doubt_usd) == (1, 1, 0)


async def test_a_refused_key_is_one_line_and_stands_nowhere(gemini: GeminiStandIn, tmp_path: Path) -> None:
    secret = "a-secret-that-nobody-may-see"
    with pytest.raises(TeacherError, match=r"status 400: API key not valid.*is GEMINI_API_KEY right\?") as caught:
        await _settle(course_of(gemini.url, tmp_path, key=secret), some_asks(2))
    assert secret not in str(caught.value)
    await _settle(course_of(gemini.url, tmp_path), some_asks(2))
    written = "".join(path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file())
    assert secret not in written
    assert KEY not in written


@pytest.mark.parametrize("before", ["", "x" * 190])
async def test_a_key_that_gemini_repeats_stands_nowhere(gemini: GeminiStandIn, tmp_path: Path, before: str) -> None:
    told = json.dumps(
        {"error": {"message": f"{before}Consumer 'api_key:{KEY}' of http://me:hunter2@host/ has no quota"}}
    )
    gemini.faults = [Fault(status=500, body=told), Fault(status=403, body=told)]
    with pytest.raises(TeacherError, match=f"status 403: {before}Consumer") as caught:
        await _settle(course_of(gemini.url, tmp_path, at_once=1), some_asks(1))
    gemini.spoil = lambda n: {"code": 13, "message": f"no {KEY}"} if len(gemini.batches) < 1 and n else None
    await _settle(course_of(gemini.url, tmp_path, batch=True), some_asks(2))
    written = "".join(path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file())
    assert "status 500" in written
    assert "batch: no …" in written
    for secret in (KEY, KEY[:8], "hunter2"):
        assert secret not in str(caught.value) + written


async def test_what_is_out_cannot_overrun_the_most_that_may_be_spent(gemini: GeminiStandIn, tmp_path: Path) -> None:
    gemini.slow_s = 0.05
    most = 0.02
    with pytest.raises(TeacherError, match="--max-cost"):
        await _settle(course_of(gemini.url, tmp_path, at_once=16, most_usd=most), some_asks(60))
    course = course_of(gemini.url, tmp_path)
    journal = course.journal("poems", instructions(GAME))
    paid = sum(one.usd for one in journal.paid)
    journal.close()
    await course.teacher.close()
    assert 0.5 * most < paid <= most
    assert len(journal.paid) == len(gemini.asked)  # what was out was waited for
    real = (gemini.prompt_tokens * 0.30 + gemini.output_tokens * 2.50) / 1e6
    assert paid == pytest.approx(real)


async def test_where_all_is_spent_already_nothing_more_is_asked(gemini: GeminiStandIn, tmp_path: Path) -> None:
    await _settle(course_of(gemini.url, tmp_path), some_asks(2))
    asked = len(gemini.asked)
    with pytest.raises(
        TeacherError, match=r"--max-cost: \$0\.0001 \(¥0\.0\) allow no further question: \$.* \(¥.*\) are spent"
    ):
        await _settle(course_of(gemini.url, tmp_path, most_usd=0.0001), some_asks(4))
    assert len(gemini.asked) == asked
    settled, again = await _settle(course_of(gemini.url, tmp_path, most_usd=0.0001), some_asks(2))
    assert all(one.answer for one in settled)  # what is there costs nothing
    assert again == 0


async def test_a_clock_that_jumps_a_day_to_and_fro_changes_nothing(
    gemini: GeminiStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, looks = time.time, count()
    monkeypatch.setattr(time, "time", lambda: real() + (86_400 if next(looks) % 2 else -86_400))
    gemini.faults = [Fault(status=429, headers={"Retry-After": "0.1"})]
    begun = time.monotonic()
    settled, asked = await _settle(course_of(gemini.url, tmp_path, cache_ttl_s=60, at_once=1), some_asks(4))
    assert next(looks) > 0
    assert [one.answer is not None for one in settled] == [True] * 4
    assert (asked, len(gemini.asked), gemini.touched.total()) == (5, 4, 0)
    assert time.monotonic() - begun < 60
    assert (await _settle(course_of(gemini.url, tmp_path), some_asks(4)))[1] == 0


async def test_what_is_out_when_another_is_refused_is_waited_for(gemini: GeminiStandIn, tmp_path: Path) -> None:
    gemini.faults = [Fault(hang_s=0.5), Fault(status=403)]
    with pytest.raises(TeacherError, match="status 403"):
        await _settle(course_of(gemini.url, tmp_path, at_once=2), some_asks(2))
    course = course_of(gemini.url, tmp_path)
    journal = course.journal("poems", instructions(GAME))
    journal.close()
    await course.teacher.close()
    assert (len(journal.paid), journal.in_doubt_usd) == (1, 0)


async def test_the_fixed_prompt_is_kept_renewed_and_let_go(gemini: GeminiStandIn, tmp_path: Path) -> None:
    gemini.slow_s = 0.3
    await _settle(course_of(gemini.url, tmp_path, cache_ttl_s=1, at_once=1), some_asks(4))
    assert all("systemInstruction" not in body and body["cachedContent"] for body in gemini.bodies)
    assert gemini.touched.total() >= 1
    assert gemini.caches == {}
    paid = json.loads((tmp_path / "ledger.json").read_text("utf-8"))["poems"]["models"]["gemini-2.5-flash"]
    assert paid["tokens"]["cached"] > 0
    assert paid["tokens"]["cached"] + paid["tokens"]["prompt"] == gemini.prompt_tokens
    assert paid["saved_by_cache_usd"] > 0
    for_a_second = paid["tokens"]["cached"] / 4 / 3600
    assert for_a_second < paid["tokens"]["stored"] < (1 + gemini.touched.total()) * for_a_second
    assert paid["usd"] == pytest.approx(sum(paid["usd_by_kind"].values()), abs=5e-6)


@pytest.mark.parametrize("ttl", [1, 3600])
async def test_a_kept_prompt_that_is_gone_is_kept_anew(gemini: GeminiStandIn, tmp_path: Path, ttl: int) -> None:
    write = gemini.write

    def forgetful(system: str, question: str, turns: int) -> str:
        if len(gemini.asked) == 1:
            gemini.caches.clear()
            time.sleep(0.6 if ttl == 1 else 0)  # then it is missed when it is to be renewed
        return write(system, question, turns)

    gemini.write = forgetful
    course = course_of(gemini.url, tmp_path, cache_ttl_s=ttl, at_once=1)
    settled, _ = await _settle(course, some_asks(4))
    assert all(one.answer for one in settled)
    assert (gemini.kept, gemini.touched.total() > 0) == (2, ttl == 1)
    assert course.teacher.not_kept == ""  # type: ignore[attr-defined]


async def test_a_prompt_that_a_killed_process_had_kept_is_let_go(gemini: GeminiStandIn, tmp_path: Path) -> None:
    for _ in range(2):
        course = course_of(gemini.url, tmp_path, cache_ttl_s=3600)
        with closing(course.journal("poems", instructions(GAME))) as journal:
            await course.settle(course.asking(journal, read_poem), iter(some_asks(gemini.kept + 2)), None, "test")
            assert list(gemini.caches) == [f"cachedContents/{gemini.kept}"]
        there = dict(gemini.caches)
        await course.teacher.close()
        gemini.caches |= there  # as a process leaves them that is killed
    course = course_of(gemini.url, tmp_path)
    await _settle(course, some_asks(4))
    assert (gemini.kept, gemini.caches) == (2, {})


async def test_money_for_keeping_a_prompt_is_put_aside_once_while_it_lasts(
    gemini: GeminiStandIn, tmp_path: Path
) -> None:
    course = course_of(gemini.url, tmp_path, cache_ttl_s=86_400, at_once=1, most_usd=0.06)
    settled, _ = await _settle(course, some_asks(4))
    assert all(one.answer for one in settled)
    paid = json.loads((tmp_path / "ledger.json").read_text("utf-8"))["poems"]
    assert 0.01 < paid["models"]["gemini-2.5-flash"]["usd_by_kind"]["stored"] < paid["usd"] < 0.06


async def test_a_prompt_too_short_to_be_kept_is_sent_each_time(gemini: GeminiStandIn, tmp_path: Path) -> None:
    gemini.least_cached = 100_000
    course = course_of(gemini.url, tmp_path, cache_ttl_s=60)
    settled, _ = await _settle(course, some_asks(2))
    assert all(one.answer for one in settled)
    assert "too small" in course.teacher.not_kept  # type: ignore[attr-defined]


async def test_a_batch_that_half_failed_is_asked_for_the_rest(gemini: GeminiStandIn, tmp_path: Path) -> None:
    gemini.spoil = lambda n: {"code": 13, "message": "internal"} if n % 2 and len(gemini.batches) < 1 else None
    settled, asked = await _settle(course_of(gemini.url, tmp_path, batch=True), some_asks(6))
    assert all(one.answer for one in settled)
    assert asked == 9
    paid = json.loads((tmp_path / "ledger.json").read_text("utf-8"))["poems"]
    assert paid["models"]["gemini-2.5-flash"]["answers"] == 6
    real = (gemini.prompt_tokens * 0.30 + gemini.output_tokens * 2.50) / 1e6
    assert paid["usd"] == pytest.approx(real / 2, abs=1e-6)
    assert sum(paid["models"]["gemini-2.5-flash"]["usd_by_kind"].values()) == pytest.approx(real / 2, abs=4e-6)


@pytest.mark.parametrize("count", [1, 3])
async def test_answers_without_keys_stand_in_the_order_of_their_questions(
    gemini: GeminiStandIn, tmp_path: Path, count: int
) -> None:
    gemini.keyless = True
    settled, asked = await _settle(course_of(gemini.url, tmp_path, batch=True), some_asks(count))
    assert all(one.answer for one in settled)
    assert (asked, len(gemini.batches)) == (count, 1)


async def test_groups_go_out_in_the_same_batch_and_what_is_put_aside_is_replaced(
    gemini: GeminiStandIn, tmp_path: Path
) -> None:
    asks, write = some_asks(12), gemini.write
    bad = asks[0].user
    gemini.write = lambda system, question, turns: "{}" if question == bad else write(system, question, turns)
    course = course_of(gemini.url, tmp_path, batch=True)
    journal = course.journal("poems", instructions(GAME))
    found = await course.settle_groups(
        course.asking(journal, read_poem), {"one": (iter(asks[:6]), 4), "other": (iter(asks[6:]), 3)}
    )
    journal.close()
    await course.teacher.close()
    assert [one.answer is not None for one in found["one"]] == [False, True, True, True, True]
    assert len(found["other"]) == 3
    assert [len(batch["answers"]) for batch in gemini.batches.values()] == [7, 1, 1, 1]  # three tries, and another hand


async def test_a_batch_that_may_cost_too_much_is_not_sent(gemini: GeminiStandIn, tmp_path: Path) -> None:
    with pytest.raises(
        TeacherError, match=r"--max-cost: \$0\.0010 \(¥0\.2\), .* allow no batch that may cost \$0\.\d+ \(¥\d+\.\d\)"
    ):
        await _settle(course_of(gemini.url, tmp_path, batch=True, most_usd=0.001), some_asks(5))
    assert gemini.batches == {}


async def test_a_batch_is_found_again_after_a_death_and_not_submitted_twice(
    gemini: GeminiStandIn, tmp_path: Path
) -> None:
    gemini.batch_polls = 10**6
    dying = asyncio.create_task(_settle(course_of(gemini.url, tmp_path, batch=True), some_asks(5)))
    async with asyncio.timeout(30):
        while not any(batch["polls"] for batch in gemini.batches.values()):
            await asyncio.sleep(0.01)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    assert len(gemini.batches) == 1
    gemini.batch_polls = 0
    course = course_of(gemini.url, tmp_path, batch=True)
    assert _ahead(course, some_asks(7)) == Ahead(asks=2, taken=0, out=5)
    settled, asked = await _settle(course, some_asks(5))
    assert all(one.answer for one in settled)
    assert (asked, len(gemini.batches)) == (0, 1)
    assert _ahead(course, some_asks(7)) == Ahead(asks=2, taken=5, out=0)


async def test_a_batch_of_another_model_s_is_not_taken_for_one_that_never_arrived(
    gemini: GeminiStandIn, tmp_path: Path
) -> None:
    asks = some_asks(3)
    await _settle(course_of(gemini.url, tmp_path, batch=True), asks)
    pro: dict[str, Any] = {"batch": True, "model": "gemini-2.5-pro"}
    with pytest.raises(TeacherError, match="no connection"):
        await _settle(course_of("http://127.0.0.1:9", tmp_path, **pro), asks)
    settled, asked = await _settle(course_of(gemini.url, tmp_path, **pro), asks)
    assert {one.model for one in settled} == {"gemini-2.5-pro"}
    assert (asked, len(gemini.batches)) == (3, 2)


@pytest.mark.parametrize("status", [400, 429])
async def test_a_batch_that_is_refused_is_not_out(gemini: GeminiStandIn, tmp_path: Path, status: int) -> None:
    gemini.faults = [Fault(status=status)]
    with pytest.raises(TeacherError, match=str(status)):
        await _settle(course_of(gemini.url, tmp_path, batch=True), some_asks(3))
    settled, asked = await _settle(course_of(gemini.url, tmp_path), some_asks(3))
    assert all(one.answer for one in settled)
    assert asked == 3
    assert json.loads((tmp_path / "ledger.json").read_text("utf-8"))["poems"]["in_doubt_usd"] == 0


def _ahead(course: Course, asks: list[Ask]) -> Ahead:
    journal = course.look("poems", instructions(GAME))
    return course.asking(journal, read_poem).ahead([(iter(asks), len(asks))], still_out(journal))


async def test_what_is_put_aside_is_neither_asked_nor_taken_over(gemini: GeminiStandIn, tmp_path: Path) -> None:
    poet, asks = gemini.write, some_asks(6)
    bad = {ask.user for ask in asks[:2]}
    gemini.write = lambda system, question, turns: "{}" if question in bad else poet(system, question, turns)
    await _settle(course_of(gemini.url, tmp_path), asks[:4])
    journal = (course := course_of(gemini.url, tmp_path)).look("poems", instructions(GAME))
    found = course.asking(journal, read_poem).ahead([(iter(asks), 3)])
    assert found == Ahead(asks=1, taken=2, out=0)
    await course.teacher.close()


async def test_no_more_is_looked_through_than_the_journals_have(gemini: GeminiStandIn, tmp_path: Path) -> None:
    asks = some_asks(60)
    await _settle(course_of(gemini.url, tmp_path), [*asks[:4], asks[50]])
    course = course_of(gemini.url, tmp_path)
    asking = course.asking(course.look("poems", instructions(GAME)), read_poem)
    large, small = iter(asks[:50]), iter(asks[50:])
    assert asking.ahead([(large, 40), (small, 5)]) == Ahead(asks=40, taken=5, out=0)
    assert (next(large).key, next(small).key) == (asks[4].key, asks[51].key)
    await course.teacher.close()


@pytest.mark.parametrize("lines", range(1, 4))
async def test_a_death_before_a_batch_is_sent_leaves_nothing_in_doubt(
    gemini: GeminiStandIn, tmp_path: Path, lines: int
) -> None:
    await _settle(course_of(gemini.url, tmp_path, batch=True), some_asks(4))
    gemini.batches.clear()
    (path,) = tmp_path.glob("poems-*.jsonl")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]))
    settled, asked = await _settle(course_of(gemini.url, tmp_path, batch=True), some_asks(4))
    assert all(one.answer for one in settled)
    assert asked == (4 if lines < 3 else 3)
    assert json.loads((tmp_path / "ledger.json").read_text("utf-8"))["poems"]["in_doubt_usd"] == 0


@pytest.mark.parametrize("taken", [3, 6])
async def test_what_was_taken_of_a_batch_before_a_death_is_not_taken_and_paid_again(
    gemini: GeminiStandIn, tmp_path: Path, taken: int
) -> None:
    await _settle(course_of(gemini.url, tmp_path, batch=True), some_asks(6))
    _cut_to_answers(tmp_path, taken)
    settled, asked = await _settle(course_of(gemini.url, tmp_path, batch=True), some_asks(6))
    assert all(one.answer for one in settled)
    assert (asked, len(gemini.batches)) == (0, 1)
    paid = json.loads((tmp_path / "ledger.json").read_text("utf-8"))["poems"]
    assert (paid["models"]["gemini-2.5-flash"]["answers"], paid["in_doubt_usd"]) == (6, 0)
    real = (gemini.prompt_tokens * 0.30 + gemini.output_tokens * 2.50) / 1e6
    assert paid["usd"] == pytest.approx(real / 2, abs=1e-6)


async def test_what_a_batch_cost_takes_the_place_of_what_it_might_have_cost(
    gemini: GeminiStandIn, tmp_path: Path
) -> None:
    asks, course = some_asks(8), course_of(gemini.url, tmp_path, batch=True)
    most = sum(course.price.most(ask, (), course.spec.max_tokens, batch=True) for ask in asks[:5])
    await _settle(course, asks[:5])
    _cut_to_answers(tmp_path, 0)
    settled, asked = await _settle(course_of(gemini.url, tmp_path, batch=True, most_usd=most), asks)
    assert all(one.answer for one in settled)
    assert asked == 3


def _cut_to_answers(room: Path, count: int) -> None:
    """The journal as a process leaves it that is killed after so many answers."""
    (path,) = room.glob("poems-*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    first = next(n for n, line in enumerate(lines) if line.startswith(b'{"answered"'))
    path.write_bytes(b"".join(lines[: first + count]))
