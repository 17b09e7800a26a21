"""What every online store must do with lists: generations, switches, publishers that fail or meet, erasures."""

import asyncio
import threading
from collections.abc import Iterator, Sequence

import pytest

from tastemaker.artefacts.v1.lists_pb2 import LIST_KEY_ITEM, LIST_KEY_SEGMENT, LIST_KEY_USER
from tastemaker.artefacts.v1.state_pb2 import RankedList, UserState
from tastemaker_server.online_store import FoundList, OnlineStore
from tastemaker_server.testing.events import logged, make_event
from tastemaker_server.testing.lists import generation_info, list_of

__all__ = ["ListsContract"]


class ListsContract:
    """Part of `OnlineStoreContract`."""

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

    async def test_user_erased_while_a_generation_is_loaded_has_no_list_in_it(self, online_store: OnlineStore) -> None:
        await _publish(online_store, 1, ["u1", "u2"])
        has_begun, is_erased = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def lists() -> Iterator[tuple[str, bytes]]:
            yield "u1", list_of("of-2")
            loop.call_soon_threadsafe(has_begun.set)
            is_erased.wait(30)
            for user in ("u1", "u2", "u3", "u4"):
                yield user, list_of("of-2")

        putting = asyncio.create_task(online_store.put_lists("home", 2, lists()))
        await has_begun.wait()
        await online_store.erase_user("u1")
        await online_store.erase_user("u1")
        is_erased.set()
        await putting
        await online_store.erase_user("u3")  # all are put, and none can be read yet
        await online_store.activate_lists("home", generation_info(2))
        assert await _shown(online_store, ["u1", "u3"]) == {(2, "")}
        assert await _shown(online_store, ["u2", "u4"]) == {(2, "of-2")}
        await _publish(online_store, 3, ["u1"])  # who came back and has a list again
        assert await _shown(online_store, ["u1"]) == {(3, "of-3")}
        await online_store.rollback_lists("home")
        assert await _shown(online_store, ["u1", "u3"]) == {(2, "")}

    async def test_user_erased_while_a_generation_is_loaded_stays_so_when_the_load_is_done_again(
        self, online_store: OnlineStore
    ) -> None:
        async def cut_off() -> None:
            def lists() -> Iterator[tuple[str, bytes]]:
                yield "u1", list_of("x")
                raise RuntimeError("cut off")

            with pytest.raises(RuntimeError, match="cut off"):
                await online_store.put_lists("home", 1, lists())

        await cut_off()
        await online_store.erase_user("u1")
        await cut_off()
        await online_store.erase_user("u2")
        await _publish(online_store, 1, ["u1", "u2", "u3"])
        assert await _shown(online_store, ["u1", "u2"]) == {(1, "")}
        assert await _shown(online_store, ["u3"]) == {(1, "of-1")}

    async def test_item_called_as_a_user_who_is_erased_during_the_load_keeps_its_list(
        self, online_store: OnlineStore
    ) -> None:
        await online_store.put_lists("similar", 1, [("u1", list_of("i2"))])
        await online_store.erase_user("u1")
        await online_store.activate_lists("similar", generation_info(1, key=LIST_KEY_ITEM))
        found = await online_store.read_list("similar", {LIST_KEY_ITEM: "u1"})
        assert found is not None
        assert found.ranked is not None

    async def test_publisher_that_was_overtaken_and_then_fails_takes_nothing_of_the_other_with_it(
        self, online_store: OnlineStore
    ) -> None:
        has_begun, may_fail = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def failing() -> Iterator[tuple[str, bytes]]:
            yield "u1", list_of("of-1")
            loop.call_soon_threadsafe(has_begun.set)
            may_fail.wait(30)
            raise RuntimeError("cut off")

        first = asyncio.create_task(online_store.put_lists("home", 1, failing()))
        await has_begun.wait()
        await online_store.put_lists("home", 1, [("u1", list_of("of-1")), ("u2", list_of("of-1"))])
        may_fail.set()
        with pytest.raises(RuntimeError, match="cut off"):
            await first
        await online_store.activate_lists("home", generation_info(1))
        assert await _shown(online_store, ["u1", "u2"]) == {(1, "of-1")}

    async def test_generation_that_another_publisher_loads_anew_cannot_become_active_half_full(
        self, online_store: OnlineStore
    ) -> None:
        await online_store.put_lists("home", 1, [("u1", list_of("of-1"))])
        has_begun, may_end = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def slow() -> Iterator[tuple[str, bytes]]:
            yield "u1", list_of("of-1")
            loop.call_soon_threadsafe(has_begun.set)
            may_end.wait(30)
            yield "u2", list_of("of-1")

        second = asyncio.create_task(online_store.put_lists("home", 1, slow()))
        await has_begun.wait()
        with pytest.raises(ValueError, match="generation 1 of 'home' has no lists, or not all"):
            await online_store.activate_lists("home", generation_info(1))
        may_end.set()
        assert await second == 2
        await online_store.activate_lists("home", generation_info(1))
        assert await _shown(online_store, ["u1", "u2"]) == {(1, "of-1")}

    async def test_generation_that_a_later_one_has_overtaken_cannot_become_active(
        self, online_store: OnlineStore
    ) -> None:
        await online_store.put_lists("home", 1, [("u1", list_of("of-1"))])
        await _publish(online_store, 2, ["u1"])
        with pytest.raises(ValueError, match="generation 1 of 'home' has no lists"):
            await online_store.activate_lists("home", generation_info(1))
        assert await _shown(online_store, ["u1"]) == {(2, "of-2")}

    async def test_rollback_while_a_generation_is_loaded_holds_until_that_one_is_active(
        self, online_store: OnlineStore
    ) -> None:
        for generation in (1, 2):
            await _publish(online_store, generation, ["u1"])
        await online_store.put_lists("home", 3, [("u1", list_of("of-3"))])
        assert await online_store.rollback_lists("home") == generation_info(1)
        assert await _shown(online_store, ["u1"]) == {(1, "of-1")}
        await online_store.activate_lists("home", generation_info(3))
        assert await _shown(online_store, ["u1"]) == {(3, "of-3")}
        assert await online_store.rollback_lists("home") == generation_info(1)


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
