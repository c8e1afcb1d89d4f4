"""Questions → Gemini's Batch API and back: submitted, followed, fetched, and found again after any death.

A batch has a name of ours, like no other, that is in the journal before it is submitted. So one whose submission was
never answered is looked for among those that Gemini has, and none is submitted twice.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar
from uuid import uuid4

from poem_build.errors import TeacherError
from poem_build.teacher.asking import Asking, Settled
from poem_build.teacher.gemini import Gemini, RefusedError
from poem_build.teacher.journal import Journal
from poem_build.teacher.protocol import Ask, LostError

T = TypeVar("T")
SIZE = 1000
"""Questions of a batch that is sent inline: 20 MB are allowed, and a question has about 6 kB."""
_RUNNING = ("JOB_STATE_PENDING", "JOB_STATE_QUEUED", "JOB_STATE_RUNNING", "JOB_STATE_UPDATING")


async def settle_in_batches(
    asking: Asking[T],
    groups: Sequence[tuple[Iterator[Ask], int | None]],
    seen: Callable[[Settled[T]], None],
) -> list[list[Settled[T]]]:
    """For each group of questions as many answers as are wanted, or all; what is put aside is replaced by the next.

    All that is missing goes out together, since a batch may take a day. Raises `TeacherError` for a teacher that has
    no batches, one that brought no answer, or a purse too small.
    """
    gemini = asking.teacher
    if not isinstance(gemini, Gemini):
        raise TeacherError(f"--batch: {gemini.name} has no batches here; leave it out")
    settled: list[list[Settled[T]]] = [[] for _ in groups]
    while True:
        missing = [
            list(islice(asks, None if wanted is None else wanted - sum(one.answer is not None for one in there)))
            for (asks, wanted), there in zip(groups, settled, strict=True)
        ]
        everything = [ask for some in missing for ask in some]
        if not everything:
            return settled
        await _answer(gemini, asking, everything)
        for there, some in zip(settled, missing, strict=True):
            for ask in some:
                one = asking.known(ask)
                assert one is not None
                there.append(one)
                seen(one)


def still_out(journal: Journal) -> set[str]:
    """The keys of the questions that a batch has which was not fetched yet."""
    keys = (key for note in _unfetched(journal) for key in note["keys"])
    return {key for key in keys if journal.story(key).waiting_usd is not None}


def _unfetched(journal: Journal) -> list[Mapping[str, Any]]:
    fetched = {note["name"] for note in journal.notes if note["note"] == "fetched"}
    return [note for note in journal.notes if note["note"] == "batch" and note["name"] not in fetched]


async def _answer(gemini: Gemini, asking: Asking[T], asks: Sequence[Ask]) -> None:
    """Have every question answered, or put aside."""
    by_key = {ask.key: ask for ask in asks}
    await _resume(gemini, asking, by_key)
    while pending := [ask for ask in asks if asking.known(ask) is None]:
        asking.purse.check(sum(_most(asking, ask) for ask in pending))
        for start in range(0, len(pending), SIZE):
            await _submit(gemini, asking, pending[start : start + SIZE])
        await _resume(gemini, asking, by_key)


def _most(asking: Asking[T], ask: Ask) -> float:
    return asking.terms.price.most(ask, asking.turns(ask), asking.terms.max_tokens, batch=True)


async def _submit(gemini: Gemini, asking: Asking[T], asks: Sequence[Ask]) -> None:
    """Send the questions, after one line of the journal has them all and the batch's name."""
    journal = asking.journal
    requests = [gemini.inlined(ask, asking.turns(ask)) for ask in asks]
    name = uuid4().hex
    journal.note("batch", name=name, keys=[ask.key for ask in asks], most_usd=[_most(asking, ask) for ask in asks])
    asking.out_now.update(ask.key for ask in asks)
    batches = gemini.client.aio.batches
    try:
        await gemini.once(batches.create(model=gemini.model, src=requests, config={"display_name": name}))
    except RefusedError as error:
        for ask in asks:
            journal.failed(ask.key, f"batch: {error}")
        raise


async def _resume(gemini: Gemini, asking: Asking[T], asks: Mapping[str, Ask]) -> None:
    """Follow and fetch every batch that the journal has and whose answers it has not."""
    for note in _unfetched(asking.journal):
        if all(asking.journal.story(key).waiting_usd is None for key in note["keys"]):  # a death came before this
            asking.journal.note("fetched", name=note["name"], answers=0)
            continue
        job = await _find(gemini, note["name"])
        while job is not None and str(job.state and job.state.value) in _RUNNING:
            job = await _look_again(gemini, job)
        answered = _take(gemini, asking, note["keys"], asks, job)
        asking.journal.note("fetched", name=note["name"], answers=answered)
        if job is not None and not answered:
            raise TeacherError(f"gemini: batch {job.name} ended as {job.state.value} without an answer; run it again")
    asking.purse.spent = asking.journal.spent_usd


async def _find(gemini: Gemini, name: str) -> Any | None:
    async def search() -> Any | None:
        async for job in await gemini.client.aio.batches.list():
            if job.display_name == name and job.name:
                return await gemini.client.aio.batches.get(name=job.name)
        return None

    return await gemini.patiently(search)


async def _look_again(gemini: Gemini, job: Any) -> Any:
    first, most = gemini.look_every_s
    gemini.looks += 1
    await asyncio.sleep(min(first * 2 ** min(gemini.looks, 10) / 2, most))
    return await gemini.patiently(lambda: gemini.client.aio.batches.get(name=job.name))


def _take(gemini: Gemini, asking: Asking[T], keys: Sequence[str], asks: Mapping[str, Ask], job: Any | None) -> int:
    """Every answer into the journal; an error for one, or for all, costs nothing. How many could be read.

    One that cannot be stays in doubt. What a process took before it was killed is not taken again.
    """
    answers = (job and job.dest and job.dest.inlined_responses) or []
    named = {str((one.metadata or {}).get("key", "")): one for one in answers}
    if answers and not named.keys() & set(keys):  # no keys came back: they stand in the order in which they were asked
        named = dict(zip(keys, answers, strict=False))
    unread = 0
    for key in keys:
        if asking.journal.story(key).waiting_usd is None:
            continue
        one = named.get(key)
        if one is None or one.error or one.response is None:
            reason = gemini.told(one.error.message) if one is not None and one.error else "no answer"
            asking.journal.failed(key, f"batch: {reason}")
        else:
            try:
                asking.take(key, asks.get(key), gemini.read(one.response), batch=True)
            except LostError:
                unread += 1
    return sum(one.response is not None and not one.error for one in answers) - unread
