"""Who may be at the model, and how waiting ends."""

import asyncio

from poem_service.watch.slots import Slots


async def test_slots_are_given_first_come_first_served_and_come_back() -> None:
    slots = Slots(2)
    order: list[int] = []

    async def work(n: int) -> None:
        async with slots.hold(5) as held:
            assert held
            order.append(n)
            await asyncio.sleep(0.01)

    await asyncio.gather(*(work(n) for n in range(6)))
    assert order == list(range(6))
    assert slots.ahead == 0


async def test_waiting_for_a_slot_ends_in_time_and_by_cancelling() -> None:
    slots = Slots(1)
    async with slots.hold(1):
        async with slots.hold(0.01) as held:
            assert not held
        waiting = asyncio.create_task(slots.hold(60).__aenter__())
        await asyncio.sleep(0)
        assert slots.ahead == 2
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert slots.ahead == 0
