"""A call is cut off when its time is over, and nothing else is."""

import asyncio

import pytest

from tastemaker_server.time_limits import TimeLimits

_LONG_SECONDS = 60.0


async def _wait(limits: TimeLimits, time: float) -> str:
    try:
        with limits.until(time):
            await asyncio.Event().wait()
    except TimeoutError:
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        return "over"
    raise AssertionError("nothing sets the event")


def test_each_is_cut_off_at_its_own_time_whichever_began_first() -> None:
    async def run() -> None:
        limits, now = TimeLimits(), asyncio.get_running_loop().time()
        long = asyncio.create_task(_wait(limits, now + _LONG_SECONDS))
        ended: list[str] = []
        for name, seconds in (("late", 0.06), ("soon", 0.02), ("past", -1.0)):
            task = asyncio.create_task(_wait(limits, now + seconds))
            task.add_done_callback(lambda _, name=name: ended.append(name))  # type: ignore[misc]  # the loop's name
        while len(ended) < 3:
            await asyncio.wait([long], timeout=0.01)
        assert ended == ["past", "soon", "late"]
        assert not long.done()
        long.cancel()
        with pytest.raises(asyncio.CancelledError):
            await long

    asyncio.run(run())


def test_limit_that_is_put_off_holds_until_the_later_time() -> None:
    async def run() -> None:
        limits, loop = TimeLimits(), asyncio.get_running_loop()
        early = loop.time() + 0.02
        with limits.until(early) as limit:
            limit.time = loop.time() + _LONG_SECONDS
            assert await _wait(limits, early + 0.02) == "over"  # by then the early time has passed
            await asyncio.sleep(0)

    asyncio.run(run())


def test_what_ends_in_time_is_not_cut_off_later() -> None:
    async def run() -> str:
        limits, loop = TimeLimits(), asyncio.get_running_loop()
        with limits.until(loop.time() + 0.01):
            pass
        assert await _wait(limits, loop.time() + 0.03) == "over"  # beyond the time of the one that has ended
        return "went on"

    assert asyncio.run(run()) == "went on"


def test_task_that_is_cancelled_meanwhile_stays_cancelled() -> None:
    async def run() -> None:
        limits, loop = TimeLimits(), asyncio.get_running_loop()
        task = asyncio.create_task(_wait(limits, loop.time() + _LONG_SECONDS))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_task_that_is_cancelled_as_its_time_ends_stays_cancelled() -> None:
    async def run() -> None:
        limits, loop = TimeLimits(), asyncio.get_running_loop()
        end = loop.time()
        task = asyncio.create_task(_wait(limits, end))
        loop.call_at(end, loop.call_at, end, task.cancel)  # once the task waits, in one turn with its limit
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
