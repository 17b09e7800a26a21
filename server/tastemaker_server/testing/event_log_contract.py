"""What every event log must do."""

import asyncio

import pytest

from tastemaker.v1 import feedback_service_pb2 as pb
from tastemaker_server.errors import EventIdReusedError
from tastemaker_server.event_log import Appended, EventLog
from tastemaker_server.event_log.erasures import erasure_digest
from tastemaker_server.testing.events import make_event

__all__ = ["EventLogContract"]

_NOW = 1_700_000_000_000_000
_HOUR = 3_600_000_000


class EventLogContract:
    """Subclasses give the fixture `event_log`: an empty log."""

    async def test_new_log_is_empty(self, event_log: EventLog) -> None:
        assert await event_log.read(0, 10) == []
        assert await event_log.last_position() == 0

    async def test_events_are_read_in_the_order_of_append(self, event_log: EventLog) -> None:
        await event_log.append([make_event("b", seconds=5), make_event("a")], _NOW)
        await event_log.append([make_event("c", user_id="u2")], _NOW + 1)
        read = await event_log.read(0, 10)
        assert [logged.event for logged in read] == [
            make_event("b", seconds=5),
            make_event("a"),
            make_event("c", user_id="u2"),
        ]
        assert [logged.received_time_micros for logged in read] == [_NOW, _NOW, _NOW + 1]
        positions = [logged.position for logged in read]
        assert positions == sorted(set(positions))
        assert positions[0] >= 1
        assert await event_log.last_position() == positions[-1]

    async def test_reading_goes_on_from_a_position(self, event_log: EventLog) -> None:
        appended = await event_log.append([make_event(str(number)) for number in range(5)], _NOW)
        first = await event_log.read(0, 2)
        rest = await event_log.read(first[-1].position, 10)
        assert [logged.event.event_id for logged in first + rest] == ["0", "1", "2", "3", "4"]
        assert await event_log.read(appended[-1].position, 10) == []

    async def test_same_event_again_is_a_duplicate_at_its_old_position(self, event_log: EventLog) -> None:
        (first,) = await event_log.append([make_event("a")], _NOW)
        again, new = await event_log.append([make_event("a"), make_event("b")], _NOW + 9)
        assert (first.is_new, again.is_new, new.is_new) == (True, False, True)
        assert again.position == first.position
        assert len(await event_log.read(0, 10)) == 2

    async def test_same_event_twice_in_one_append_is_stored_once(self, event_log: EventLog) -> None:
        first, second = await event_log.append([make_event("a"), make_event("a")], _NOW)
        assert (first.is_new, second.is_new) == (True, False)
        assert first.position == second.position
        assert len(await event_log.read(0, 10)) == 1

    async def test_reused_id_with_other_content_stores_nothing_of_the_call(self, event_log: EventLog) -> None:
        await event_log.append([make_event("a", item_id="i1")], _NOW)
        with pytest.raises(EventIdReusedError, match="'a'") as raised:
            await event_log.append([make_event("new"), make_event("a", item_id="i2")], _NOW)
        assert [violation.field for violation in raised.value.violations] == ["events[1].event_id"]
        assert [logged.event for logged in await event_log.read(0, 10)] == [make_event("a", item_id="i1")]

    async def test_id_used_twice_in_one_call_with_other_content_is_refused(self, event_log: EventLog) -> None:
        with pytest.raises(EventIdReusedError):
            await event_log.append([make_event("a", item_id="i1"), make_event("a", item_id="i2")], _NOW)
        assert await event_log.read(0, 10) == []

    async def test_refused_call_does_not_touch_its_neighbours(self, event_log: EventLog) -> None:
        await event_log.append([make_event("a", item_id="i1")], _NOW)
        calls = [event_log.append([make_event(f"good-{number}")], _NOW) for number in range(20)]
        calls.insert(10, event_log.append([make_event("x"), make_event("a", item_id="i2")], _NOW))
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(results.pop(10), EventIdReusedError)
        assert not [result for result in results if isinstance(result, BaseException)]
        stored = {logged.event.event_id for logged in await event_log.read(0, 100)}
        assert stored == {"a", *(f"good-{number}" for number in range(20))}

    async def test_concurrent_appends_of_one_event_store_it_once(self, event_log: EventLog) -> None:
        results = await asyncio.gather(*(event_log.append([make_event("a")], _NOW) for _ in range(50)))
        assert sum(appended.is_new for (appended,) in results) == 1
        assert len(await event_log.read(0, 100)) == 1

    async def test_one_of_several_contents_under_one_id_is_stored(self, event_log: EventLog) -> None:
        contents = [make_event("a", item_id=f"i{number}") for number in range(20)]
        results = await asyncio.gather(*(event_log.append([event], _NOW) for event in contents), return_exceptions=True)
        assert sum(not isinstance(result, BaseException) for result in results) == 1
        assert sum(isinstance(result, EventIdReusedError) for result in results) == 19
        (stored,) = await event_log.read(0, 100)
        (winner,) = [event for event, result in zip(contents, results, strict=True) if isinstance(result, list)]
        assert stored.event == winner

    async def test_largest_call_is_stored_whole_and_in_order(self, event_log: EventLog) -> None:
        events = [make_event(f"e{number % 400}", user_id=f"u{number % 7}") for number in range(400)]
        appended = await event_log.append([*events, *events[:100]], _NOW)
        assert [entry.is_new for entry in appended] == [True] * 400 + [False] * 100
        positions = [entry.position for entry in appended]
        assert positions[:400] == sorted(set(positions[:400]))
        assert positions[400:] == positions[:100]
        assert [logged.event for logged in await event_log.read(0, 1000)] == events

    async def test_reader_who_follows_misses_nothing_while_others_append(self, event_log: EventLog) -> None:
        calls = [
            event_log.append([make_event(f"e{number}-{part}") for part in range(3)], _NOW + number * _HOUR)
            for number in range(100)
        ]
        appending = asyncio.gather(*calls)
        followed: list[int] = []
        ended = False
        while not ended:
            ended = appending.done()  # and then read once more
            while read := await event_log.read(followed[-1] if followed else 0, 7):
                followed += [logged.position for logged in read]
        await appending
        assert followed == [logged.position for logged in await event_log.read(0, 1000)]
        assert len(followed) == 300

    async def test_events_received_out_of_order_keep_the_order_of_append(self, event_log: EventLog) -> None:
        for number, hours in enumerate((0, 100, 50, 0, 200)):
            await event_log.append([make_event(str(number))], _NOW + hours * _HOUR)
        read = await event_log.read(0, 10)
        assert [logged.event.event_id for logged in read] == ["0", "1", "2", "3", "4"]
        assert [logged.received_time_micros for logged in read] == [_NOW + h * _HOUR for h in (0, 100, 50, 0, 200)]
        assert [logged.event.event_id for logged in await event_log.read(read[1].position, 2)] == ["2", "3"]
        (again,) = await event_log.append([make_event("1")], _NOW + 300 * _HOUR)
        assert (again.position, again.is_new) == (read[1].position, False)

    async def test_bulk_keeps_order_and_times_and_goes_on_where_it_was_cut_off(self, event_log: EventLog) -> None:
        days = [0, 0, 1, 1, 0, 3]  # received out of order, too
        events = [
            (make_event(f"e{number}", user_id=f"u{number % 7}"), _NOW + days[number // 1500] * 24 * _HOUR)
            for number in range(9000)
        ]
        begun = await event_log.append_received(events[:4000])
        assert [entry.is_new for entry in begun] == [True] * 4000
        appended = await event_log.append_received(events)
        assert [entry.is_new for entry in appended] == [False] * 4000 + [True] * 5000
        assert appended[:4000] == [Appended(entry.position, is_new=False) for entry in begun]
        read = await event_log.read(0, 10_000)
        assert [(logged.event, logged.received_time_micros) for logged in read] == events
        assert [logged.position for logged in read] == [entry.position for entry in appended]
        assert not any(entry.is_new for entry in await event_log.append_received(events))
        assert await event_log.append_received([]) == []
        (after,) = await event_log.append([make_event("after")], _NOW)
        assert after.position > read[-1].position

    async def test_bulk_stores_what_comes_twice_in_it_once(self, event_log: EventLog) -> None:
        first = [(make_event(f"e{number}"), _NOW + number) for number in range(2000)]
        appended = await event_log.append_received([*first, *first[500:], (make_event("last"), _NOW)])
        assert [entry.is_new for entry in appended] == [True] * 2000 + [False] * 1500 + [True]
        assert [entry.position for entry in appended[2000:3500]] == [entry.position for entry in appended[500:2000]]
        assert len(await event_log.read(0, 10_000)) == 2001

    async def test_bulk_with_a_reused_id_names_it_and_keeps_the_order(self, event_log: EventLog) -> None:
        await event_log.append([make_event("a", item_id="i1")], _NOW)
        events = [(make_event(f"e{number}"), _NOW) for number in range(12_000)]
        events[11_000] = (make_event("a", item_id="i2"), _NOW)
        with pytest.raises(EventIdReusedError) as raised:
            await event_log.append_received(events)
        assert [violation.field for violation in raised.value.violations] == ["events[11000].event_id"]
        stored = [logged.event.event_id for logged in await event_log.read(0, 20_000)]
        assert stored == ["a", *(f"e{number}" for number in range(len(stored) - 1))]
        assert len(stored) <= 11_001

    async def test_empty_append_stores_nothing(self, event_log: EventLog) -> None:
        assert await event_log.append([], _NOW) == []
        assert await event_log.last_position() == 0

    async def test_ids_of_any_unicode_survive(self, event_log: EventLog) -> None:
        event = make_event("é-😀", user_id="用户", item_id="película")
        await event_log.append([event], _NOW)
        (read,) = await event_log.read(0, 10)
        assert read.event == event

    async def test_event_time_is_the_callers_or_else_when_it_was_received(self, event_log: EventLog) -> None:
        await event_log.append([make_event("with", seconds=7), make_event("without")], _NOW)
        with_time, without_time = await event_log.read(0, 10)
        assert with_time.event_time_micros == 7_000_000
        assert without_time.event_time_micros == _NOW

    async def test_rating_and_its_absence_survive(self, event_log: EventLog) -> None:
        rated = make_event("rated", event_type=pb.EVENT_TYPE_RATE)
        rated.rating = 0.0
        await event_log.append([rated, make_event("plain")], _NOW)
        read = await event_log.read(0, 10)
        assert [logged.event.HasField("rating") for logged in read] == [True, False]

    async def test_erasing_a_user_leaves_the_others_and_reuses_no_position(self, event_log: EventLog) -> None:
        await event_log.append([make_event("a"), make_event("b", user_id="u2"), make_event("c")], _NOW)
        last = await event_log.last_position()
        assert await event_log.erase_user("u1") == 2
        assert await event_log.erase_user("u1") == 0
        assert [logged.event.event_id for logged in await event_log.read(0, 10)] == ["b"]
        (new,) = await event_log.append([make_event("d")], _NOW)
        assert new.position > last

    async def test_erased_events_are_unknown_and_may_be_sent_again(self, event_log: EventLog) -> None:
        await event_log.append([make_event("a"), make_event("b", user_id="u2")], _NOW)
        await event_log.append([make_event("c")], _NOW + 100 * _HOUR)
        assert await event_log.erase_user("u1") == 2
        again, kept = await event_log.append([make_event("a", item_id="other"), make_event("b", user_id="u2")], _NOW)
        assert (again.is_new, kept.is_new) == (True, False)

    async def test_erasure_stays_on_record_at_the_position_where_the_log_was(self, event_log: EventLog) -> None:
        await event_log.append([make_event("a"), make_event("b", user_id="u2"), make_event("c")], _NOW)
        last = await event_log.last_position()
        await event_log.erase_user("u1")  # the newest event among theirs
        assert await event_log.erased_users(0) == await event_log.erased_users(last) == {erasure_digest("u1")}
        assert await event_log.erased_users(last + 1) == frozenset()
        await event_log.append([make_event("d"), make_event("e")], _NOW)  # who came back
        later = await event_log.last_position()
        assert await event_log.erased_users(later) == frozenset()
        await event_log.erase_user("u1")
        await event_log.erase_user("never-seen")
        assert await event_log.erased_users(later) == {erasure_digest("u1"), erasure_digest("never-seen")}

    async def test_check_of_a_healthy_log_returns(self, event_log: EventLog) -> None:
        await event_log.check()
