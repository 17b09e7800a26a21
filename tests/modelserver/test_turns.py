"""Who runs next."""

import threading

import pytest

from tastemaker_modelserver.turns import Turns


@pytest.mark.parametrize("at_once", [1, 2])
def test_what_waits_goes_in_order_to_those_who_have_run(at_once: int) -> None:
    turns: Turns[int] = Turns(at_once)
    assert [turns.take(number) for number in range(4)] == [number < at_once for number in range(4)]
    assert [turns.after() for _ in range(4)] == [*range(at_once, 4), *[None] * at_once]
    assert turns.take(9)  # all turns are over


def test_everything_runs_once_and_never_two_at_a_time() -> None:
    turns: Turns[int] = Turns(1)
    running, ran = threading.Semaphore(1), []

    def run(first: int) -> None:
        for number in range(first, first + 500):
            following: int | None = number if turns.take(number) else None
            while following is not None:
                assert running.acquire(blocking=False)
                ran.append(following)
                running.release()
                following = turns.after()

    threads = [threading.Thread(target=run, args=(first,)) for first in range(0, 2000, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ran) == list(range(2000))
