"""What every online store must do."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from tastemaker.artefacts.v1.lists_pb2 import LIST_KEY_ITEM, LIST_KEY_SEGMENT, LIST_KEY_USER
from tastemaker.artefacts.v1.state_pb2 import RankedList, UserState
from tastemaker.v1 import feedback_service_pb2 as pb
from tastemaker_server.online_store import FoundList, OnlineStore
from tastemaker_server.testing.events import logged, make_event
from tastemaker_server.testing.lists import generation_info, list_of
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

    async def test_lists_show_only_once_their_generation_is_active(self, online_store: OnlineStore) -> None:
        assert await online_store.put_lists("home", 1, [("u1", list_of("a", "b"))]) == 1
        assert await online_store.read_list("home", {LIST_KEY_USER: "u1"}) is None
        assert await online_store.list_generations("home") == []
        info = generation_info(1, created_time_micros=5, model_name="rnn", model_version=3, list_count=1)
        await online_store.activate_lists("home", info)
        found = await online_store.read_list("home", {LIST_KEY_USER: "u1"})
        assert found == FoundList(info, RankedList.FromString(list_of("a", "b")))
        assert await online_store.list_generations("home") == [info]
        assert await online_store.list_names() == ["home"]

    async def test_key_without_a_list_is_told_from_a_set_without_a_generation(self, online_store: OnlineStore) -> None:
        await _publish(online_store, 1, ["u1"])
        assert await online_store.read_list("home", {LIST_KEY_USER: "u2"}) == FoundList(generation_info(1), None)
        assert await online_store.read_list("home", {LIST_KEY_ITEM: "u1"}) == FoundList(generation_info(1), None)
        assert await online_store.read_list("other", {LIST_KEY_USER: "u1"}) is None

    async def test_active_generation_says_what_its_lists_are_looked_up_by(self, online_store: OnlineStore) -> None:
        keys = {LIST_KEY_USER: "u1", LIST_KEY_ITEM: "i1", LIST_KEY_SEGMENT: ""}
        for generation, kind in enumerate(keys, 1):
            await online_store.put_lists("home", generation, [(key, list_of(key)) for key in keys.values()])
            await online_store.activate_lists("home", generation_info(generation, key=kind))
            found = await online_store.read_list("home", keys)
            assert found is not None
            assert found.ranked == RankedList.FromString(list_of(keys[kind]))

    async def test_keys_of_any_unicode_are_found(self, online_store: OnlineStore) -> None:
        keys = ["", "}{", "a:b", "用户", "\U0001f600", "x" * 256]
        await online_store.put_lists("home", 1, [(key, list_of(f"of-{key}")) for key in keys])
        await online_store.activate_lists("home", generation_info(1))
        for key in keys:
            found = await online_store.read_list("home", {LIST_KEY_USER: key})
            assert found is not None
            assert found.ranked is not None
            assert found.ranked.item_ids == [f"of-{key}"]

    async def test_switch_changes_every_list_at_once_and_the_old_one_can_come_back(
        self, online_store: OnlineStore
    ) -> None:
        users = [f"u{number}" for number in range(50)]
        for generation in (1, 2):
            await _publish(online_store, generation, users)
            assert await _shown(online_store, users) == {(generation, f"of-{generation}")}
        assert await online_store.rollback_lists("home") == generation_info(1)
        assert await _shown(online_store, users) == {(1, "of-1")}
        assert await online_store.list_generations("home") == [generation_info(1), generation_info(2)]
        assert await online_store.rollback_lists("home") == generation_info(2)
        assert await _shown(online_store, users) == {(2, "of-2")}
        await online_store.activate_lists("home", generation_info(1))
        assert await _shown(online_store, users) == {(1, "of-1")}

    async def test_readers_at_work_see_one_generation_or_the_other(self, online_store: OnlineStore) -> None:
        users = [f"u{number}" for number in range(20)]
        await _publish(online_store, 1, users)
        seen: set[tuple[int, str]] = set()
        done = False

        async def read(user: str) -> None:
            while not done:
                seen.update(await _shown(online_store, [user]))
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for user in users:
                group.create_task(read(user))
            for generation in range(2, 8):
                await _publish(online_store, generation, users)
                assert await _shown(online_store, users) == {(generation, f"of-{generation}")}
            done = True
        assert len(seen) > 1
        assert all(item == f"of-{generation}" for generation, item in seen)

    async def test_rollback_without_an_older_generation_is_refused(self, online_store: OnlineStore) -> None:
        with pytest.raises(ValueError, match="'home' has no generation before"):
            await online_store.rollback_lists("home")
        await _publish(online_store, 1, ["u1"])
        with pytest.raises(ValueError, match="'home' has no generation before"):
            await online_store.rollback_lists("home")
        assert await _shown(online_store, ["u1"]) == {(1, "of-1")}

    async def test_generations_before_the_previous_one_are_removed(self, online_store: OnlineStore) -> None:
        for generation in (1, 2, 3):
            await _publish(online_store, generation, ["u1"])
        assert await online_store.list_generations("home") == [generation_info(3), generation_info(2)]
        with pytest.raises(ValueError, match="generation 1 of 'home' has no lists"):
            await online_store.activate_lists("home", generation_info(1))
        await online_store.activate_lists("home", generation_info(2))

    async def test_generation_that_can_be_read_cannot_be_changed(self, online_store: OnlineStore) -> None:
        for generation in (1, 2):
            await _publish(online_store, generation, ["u1"])
        for generation in (1, 2):
            with pytest.raises(ValueError, match=f"generation {generation} of 'home' can be read"):
                await online_store.put_lists("home", generation, [("u2", list_of("x"))])
        assert await _shown(online_store, ["u1"]) == {(2, "of-2")}
        assert await online_store.read_list("home", {LIST_KEY_USER: "u2"}) == FoundList(generation_info(2), None)

    async def test_put_that_was_cut_off_is_simply_done_again(self, online_store: OnlineStore) -> None:
        def cut_off() -> Iterator[tuple[str, bytes]]:
            for number in range(5000):
                yield f"left-{number}", list_of("x")
            raise RuntimeError("cut off")

        with pytest.raises(RuntimeError, match="cut off"):
            await online_store.put_lists("home", 1, cut_off())
        with pytest.raises(ValueError, match="generation 1 of 'home' has no lists"):
            await online_store.activate_lists("home", generation_info(1))
        await _publish(online_store, 1, ["u1"])
        assert await _shown(online_store, ["u1"]) == {(1, "of-1")}
        assert await online_store.read_list("home", {LIST_KEY_USER: "left-7"}) == FoundList(generation_info(1), None)

    async def test_of_two_publishers_of_one_generation_the_later_one_wins(self, online_store: OnlineStore) -> None:
        later_is_done = threading.Event()

        has_begun = asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow() -> Iterator[tuple[str, bytes]]:
            loop.call_soon_threadsafe(has_begun.set)
            yield "u1", list_of("of-1")
            later_is_done.wait(30)
            yield "u2", list_of("of-1")

        first = asyncio.create_task(online_store.put_lists("home", 1, slow()))
        await has_begun.wait()
        await online_store.put_lists("home", 1, [(user, list_of("of-1")) for user in ("u1", "u2")])
        later_is_done.set()
        with pytest.raises(ValueError, match="generation 1 of 'home' is being put by another process"):
            await first
        await online_store.activate_lists("home", generation_info(1))
        assert await _shown(online_store, ["u1", "u2"]) == {(1, "of-1")}

    async def test_state_and_list_together_are_what_they_are_apart(self, online_store: OnlineStore) -> None:
        events = [logged(1, make_event("a", item_id="x")), logged(2, make_event("b", user_id="u2", item_id="x"))]
        await online_store.apply(events, after=0)
        known = [await online_store.user_state(user) for user in ("u1", "u2", "u3")]
        assert known[0] is not None
        assert known[2] is None
        assert await _together(online_store, ["u1", "u3"]) == [(known[0], None), (None, None)]
        for generation in (1, 2):  # and when the generation changes under the reader
            await _publish(online_store, generation, ["u1", "u3"])
            ranked = RankedList.FromString(list_of(f"of-{generation}"))
            lists = [FoundList(generation_info(generation), found) for found in (ranked, None, ranked)]
            assert await _together(online_store, ["u1", "u2", "u3"]) == list(zip(known, lists, strict=True))

    async def test_many_lists_all_arrive(self, online_store: OnlineStore) -> None:
        lists = [(f"u{number}", list_of(f"i{number}")) for number in range(12_345)]
        assert await online_store.put_lists("home", 1, iter(lists)) == 12_345
        await online_store.activate_lists("home", generation_info(1))
        for key, value in lists[::100]:
            assert await online_store.read_list("home", {LIST_KEY_USER: key}) == FoundList(
                generation_info(1), RankedList.FromString(value)
            )

    async def test_erased_user_has_no_list_in_any_generation_and_items_keep_theirs(
        self, online_store: OnlineStore
    ) -> None:
        for generation in (1, 2):
            await _publish(online_store, generation, ["u1", "u2"])
        await online_store.put_lists("similar", 1, [("u1", list_of("an item may be called as a user is"))])
        await online_store.activate_lists("similar", generation_info(1, key=LIST_KEY_ITEM))
        await online_store.erase_user("u1")
        for generation in (2, 1):
            assert await online_store.read_list("home", {LIST_KEY_USER: "u1"}) == FoundList(
                generation_info(generation), None
            )
            assert await _shown(online_store, ["u2"]) == {(generation, f"of-{generation}")}
            await online_store.rollback_lists("home")
        found = await online_store.read_list("similar", {LIST_KEY_ITEM: "u1"})
        assert found is not None
        assert found.ranked is not None

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


async def _publish(online_store: OnlineStore, generation: int, users: Sequence[str]) -> None:
    """Makes a generation active whose lists name it."""
    await online_store.put_lists("home", generation, ((user, list_of(f"of-{generation}")) for user in users))
    await online_store.activate_lists("home", generation_info(generation))


async def _together(online_store: OnlineStore, users: Sequence[str]) -> list[tuple[UserState | None, FoundList | None]]:
    return [await online_store.user_state_and_list(user, "home", {LIST_KEY_USER: user}) for user in users]


async def _shown(online_store: OnlineStore, users: Sequence[str]) -> set[tuple[int, str]]:
    """The generations that reads of these users told, each with the first item that came with it; "" for no list."""
    shown = set()
    for user in users:
        found = await online_store.read_list("home", {LIST_KEY_USER: user})
        assert found is not None
        shown.add((found.generation.generation, found.ranked.item_ids[0] if found.ranked is not None else ""))
    return shown
