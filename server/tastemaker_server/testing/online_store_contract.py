"""What every online store must do: users' states and popularity here, lists in `lists_contract`."""

import asyncio
from collections import Counter

from tastemaker.v1 import feedback_service_pb2 as pb
from tastemaker_server.online_store import OnlineStore
from tastemaker_server.testing.events import logged, make_event
from tastemaker_server.testing.lists_contract import ListsContract
from tastemaker_server.user_state import StatePolicy

__all__ = ["OnlineStoreContract"]


class OnlineStoreContract(ListsContract):
    """Subclasses give the fixture `online_store`: an empty store with `POLICY`."""

    POLICY = StatePolicy(
        consuming_event_types=frozenset({pb.EVENT_TYPE_CONSUME}), max_history_events=5, max_consumed_items=7
    )

    async def test_new_store_knows_nothing(self, online_store: OnlineStore) -> None:
        assert await online_store.user_state("u1") is None
        assert await online_store.applied_position() == 0
        assert await online_store.popular(10) == []

    async def test_applied_events_show_in_the_state(self, online_store: OnlineStore) -> None:
        await online_store.apply(
            [
                logged(3, make_event("a", item_id="i1", seconds=10)),
                logged(4, make_event("b", item_id="i2", seconds=20, event_type=pb.EVENT_TYPE_VIEW)),
                logged(9, make_event("c", item_id="i3", user_id="u2", seconds=5)),
            ],
            after=0,
        )
        state = await online_store.user_state("u1")
        assert state is not None
        assert [entry.item_id for entry in state.history] == ["i1", "i2"]
        assert list(state.consumed_item_ids) == ["i1"]
        assert await online_store.applied_position() == 9

    async def test_applying_the_same_events_again_changes_nothing(self, online_store: OnlineStore) -> None:
        events = [logged(number, make_event(str(number), item_id=f"i{number}")) for number in range(1, 4)]
        assert await online_store.apply(events, after=0) == 3
        before = await online_store.user_state("u1"), await online_store.popular(10)
        assert await online_store.apply(events, after=0) == 3
        assert await online_store.apply(events[:1], after=0) == 3
        assert (await online_store.user_state("u1"), await online_store.popular(10)) == before
        assert await online_store.applied_position() == 3

    async def test_events_beyond_what_the_store_has_are_not_applied_and_it_says_where_to_begin(
        self, online_store: OnlineStore
    ) -> None:
        await online_store.apply([logged(1, make_event("a"))], after=0)
        assert await online_store.apply([logged(9, make_event("b", item_id="i9"))], after=8) == 1
        assert await online_store.applied_position() == 1
        assert await online_store.popular(10) == [("i1", 1)]

    async def test_batches_that_overlap_are_applied_once(self, online_store: OnlineStore) -> None:
        events = [
            logged(n, make_event(str(n), user_id=f"u{n % 3}", item_id=f"i{n % 7}", seconds=n)) for n in range(1, 41)
        ]
        reached = await asyncio.gather(
            *(online_store.apply(events[:end], after=0) for end in (5, 17, 11, 29, 40, 23, 40))
        )
        assert max(reached) == await online_store.applied_position() == 40
        users_of_item = {(logged.event.user_id, logged.event.item_id) for logged in events}
        expected = Counter(item for _, item in users_of_item)
        assert await online_store.popular(10) == sorted(expected.items(), key=lambda pair: (-pair[1], pair[0]))

    async def test_equally_popular_items_come_in_the_order_of_their_ids(self, online_store: OnlineStore) -> None:
        names = ["b", "a", "10", "9", "Z", "é", "用", "ab"]
        await online_store.apply(
            [logged(n, make_event(str(n), user_id=f"u{n}", item_id=name)) for n, name in enumerate(names, 1)], after=0
        )
        expected = sorted(names, key=str.encode)
        assert await online_store.popular(10) == [(name, 1) for name in expected]
        assert await online_store.popular(3) == [(name, 1) for name in expected[:3]]

    async def test_late_event_takes_its_place_by_time(self, online_store: OnlineStore) -> None:
        await online_store.apply([logged(1, make_event("a", item_id="new", seconds=100))], after=0)
        await online_store.apply([logged(2, make_event("b", item_id="old", seconds=50))], after=1)
        state = await online_store.user_state("u1")
        assert state is not None
        assert [entry.item_id for entry in state.history] == ["old", "new"]

    async def test_history_and_consumed_items_are_bounded_and_keep_the_newest(self, online_store: OnlineStore) -> None:
        await online_store.apply(
            [logged(n, make_event(str(n), item_id=f"i{n}", seconds=n)) for n in range(1, 11)], after=0
        )
        state = await online_store.user_state("u1")
        assert state is not None
        assert [entry.item_id for entry in state.history] == ["i6", "i7", "i8", "i9", "i10"]
        assert list(state.consumed_item_ids) == ["i4", "i5", "i6", "i7", "i8", "i9", "i10"]

    async def test_popularity_counts_each_user_once(self, online_store: OnlineStore) -> None:
        await online_store.apply(
            [
                logged(1, make_event("a", user_id="u1", item_id="x")),
                logged(2, make_event("b", user_id="u1", item_id="x")),
                logged(3, make_event("c", user_id="u1", item_id="y")),
                logged(4, make_event("d", user_id="u2", item_id="y")),
                logged(5, make_event("e", user_id="u3", item_id="z", event_type=pb.EVENT_TYPE_VIEW)),
                logged(6, make_event("f", user_id="u3", item_id="w")),
            ],
            after=0,
        )
        assert await online_store.popular(10) == [("y", 2), ("w", 1), ("x", 1)]
        assert await online_store.popular(1) == [("y", 2)]

    async def test_erased_user_is_forgotten_everywhere(self, online_store: OnlineStore) -> None:
        await online_store.apply(
            [logged(1, make_event("a", item_id="x")), logged(2, make_event("b", user_id="u2", item_id="x"))],
            after=0,
        )
        await online_store.erase_user("u1")
        await online_store.erase_user("u1")
        assert await online_store.user_state("u1") is None
        assert await online_store.popular(10) == [("x", 1)]
        assert await online_store.user_state("u2") is not None

    async def test_check_of_a_healthy_store_returns(self, online_store: OnlineStore) -> None:
        await online_store.check()
