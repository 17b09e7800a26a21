"""What every online store must do."""

import pytest

from tastemaker.artefacts.v1.state_pb2 import RankedList
from tastemaker.v1 import feedback_service_pb2 as pb
from tastemaker_server.online_store import OnlineStore
from tastemaker_server.testing.events import logged, make_event
from tastemaker_server.user_state import StatePolicy

__all__ = ["OnlineStoreContract"]


class OnlineStoreContract:
    """Subclasses give the fixture `online_store`: an empty store with `POLICY`."""

    POLICY = StatePolicy(
        consuming_event_types=frozenset({pb.EVENT_TYPE_CONSUME}), max_history_events=5, max_consumed_items=7
    )

    async def test_new_store_knows_nothing(self, online_store: OnlineStore) -> None:
        assert await online_store.user_state("u1") is None
        assert await online_store.applied_position() == 0
        assert await online_store.popular(10) == []
        assert await online_store.user_list("home", "u1") is None

    async def test_applied_events_show_in_the_state(self, online_store: OnlineStore) -> None:
        await online_store.apply(
            [
                logged(3, make_event("a", item_id="i1", seconds=10)),
                logged(4, make_event("b", item_id="i2", seconds=20, event_type=pb.EVENT_TYPE_VIEW)),
                logged(9, make_event("c", item_id="i3", user_id="u2", seconds=5)),
            ]
        )
        state = await online_store.user_state("u1")
        assert state is not None
        assert [entry.item_id for entry in state.history] == ["i1", "i2"]
        assert list(state.consumed_item_ids) == ["i1"]
        assert await online_store.applied_position() == 9

    async def test_applying_the_same_events_again_changes_nothing(self, online_store: OnlineStore) -> None:
        events = [logged(number, make_event(str(number), item_id=f"i{number}")) for number in range(1, 4)]
        await online_store.apply(events)
        before = await online_store.user_state("u1"), await online_store.popular(10)
        await online_store.apply(events)
        await online_store.apply(events[:1])
        assert (await online_store.user_state("u1"), await online_store.popular(10)) == before
        assert await online_store.applied_position() == 3

    async def test_late_event_takes_its_place_by_time(self, online_store: OnlineStore) -> None:
        await online_store.apply([logged(1, make_event("a", item_id="new", seconds=100))])
        await online_store.apply([logged(2, make_event("b", item_id="old", seconds=50))])
        state = await online_store.user_state("u1")
        assert state is not None
        assert [entry.item_id for entry in state.history] == ["old", "new"]

    async def test_history_and_consumed_items_are_bounded_and_keep_the_newest(self, online_store: OnlineStore) -> None:
        await online_store.apply([logged(n, make_event(str(n), item_id=f"i{n}", seconds=n)) for n in range(1, 11)])
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
            ]
        )
        assert await online_store.popular(10) == [("y", 2), ("w", 1), ("x", 1)]
        assert await online_store.popular(1) == [("y", 2)]

    async def test_lists_show_only_once_their_generation_is_active(self, online_store: OnlineStore) -> None:
        ranked = RankedList(item_ids=["a", "b"], scores=[2.0, 1.0])
        assert await online_store.put_lists("home", 1, [("u1", ranked)]) == 1
        assert await online_store.user_list("home", "u1") is None
        await online_store.activate_lists("home", 1)
        assert await online_store.user_list("home", "u1") == ranked
        assert await online_store.user_list("home", "u2") is None
        assert await online_store.user_list("other", "u1") is None

    async def test_switch_changes_every_list_at_once_and_the_old_one_can_come_back(
        self, online_store: OnlineStore
    ) -> None:
        users = [f"u{number}" for number in range(50)]
        for generation in (1, 2):
            ranked = RankedList(item_ids=[f"of-{generation}"], scores=[1.0])
            assert await online_store.put_lists("home", generation, ((user, ranked) for user in users)) == 50
        for generation in (1, 2, 1):
            await online_store.activate_lists("home", generation)
            shown = [await online_store.user_list("home", user) for user in users]
            assert {ranked.item_ids[0] for ranked in shown if ranked is not None} == {f"of-{generation}"}
            assert None not in shown

    async def test_generations_before_the_previous_one_are_removed(self, online_store: OnlineStore) -> None:
        for generation in (1, 2, 3):
            await online_store.put_lists("home", generation, [("u1", RankedList(item_ids=["a"], scores=[1.0]))])
            await online_store.activate_lists("home", generation)
        with pytest.raises(ValueError, match="generation 1 of 'home' has no lists"):
            await online_store.activate_lists("home", 1)
        await online_store.activate_lists("home", 2)

    async def test_active_generation_cannot_be_changed(self, online_store: OnlineStore) -> None:
        ranked = RankedList(item_ids=["a"], scores=[1.0])
        await online_store.put_lists("home", 1, [("u1", ranked)])
        await online_store.activate_lists("home", 1)
        with pytest.raises(ValueError, match="generation 1 of 'home' is active"):
            await online_store.put_lists("home", 1, [("u2", ranked)])
        assert await online_store.user_list("home", "u2") is None

    async def test_erased_user_is_forgotten_everywhere(self, online_store: OnlineStore) -> None:
        await online_store.apply(
            [logged(1, make_event("a", item_id="x")), logged(2, make_event("b", user_id="u2", item_id="x"))]
        )
        await online_store.put_lists("home", 1, [("u1", RankedList(item_ids=["q"], scores=[1.0]))])
        await online_store.activate_lists("home", 1)
        await online_store.erase_user("u1")
        assert await online_store.user_state("u1") is None
        assert await online_store.user_list("home", "u1") is None
        assert await online_store.popular(10) == [("x", 1)]
        assert await online_store.user_state("u2") is not None

    async def test_check_of_a_healthy_store_returns(self, online_store: OnlineStore) -> None:
        await online_store.check()
