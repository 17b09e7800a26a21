"""Users' states follow from their events, however these arrive."""

from hypothesis import given
from hypothesis import strategies as st

from tastemaker.v1 import feedback_service_pb2 as pb
from tastemaker_server.event_log import LoggedEvent
from tastemaker_server.testing import logged, make_event
from tastemaker_server.user_state import StatePolicy, updated_state

POLICY = StatePolicy(frozenset({pb.EVENT_TYPE_CONSUME}), max_history_events=50, max_consumed_items=50)


@st.composite
def _logs(draw: st.DrawFn) -> list[LoggedEvent]:
    steps = draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.booleans()), max_size=20))
    kinds = {True: pb.EVENT_TYPE_CONSUME, False: pb.EVENT_TYPE_VIEW}
    return [
        logged(position, make_event(str(position), item_id=f"i{item}", seconds=time, event_type=kinds[is_consumption]))
        for position, (item, time, is_consumption) in enumerate(steps, 1)
    ]


@given(_logs(), st.integers(0, 20), st.sampled_from([50, 3, 1]))
def test_batches_do_not_matter(events: list[LoggedEvent], cut: int, kept: int) -> None:
    policy = StatePolicy(frozenset({pb.EVENT_TYPE_CONSUME}), max_history_events=kept, max_consumed_items=kept)
    at_once, consuming_at_once = updated_state(None, events, policy)
    first, consuming = updated_state(None, events[:cut], policy)
    in_two, more_consuming = updated_state(first, events[cut:], policy)
    assert in_two == at_once
    assert consuming + more_consuming == consuming_at_once


@given(_logs())
def test_applying_again_changes_nothing(events: list[LoggedEvent]) -> None:
    once, _ = updated_state(None, events, POLICY)
    twice, newly_consumed = updated_state(once, events, POLICY)
    assert twice == once
    assert newly_consumed == []


@given(_logs())
def test_history_is_in_order_of_time_with_ties_in_log_order(events: list[LoggedEvent]) -> None:
    state, _ = updated_state(None, events, POLICY)
    keys = [(entry.event_time_micros, entry.position) for entry in state.history]
    assert keys == sorted(keys)
    assert len(keys) == len(events)


@given(_logs())
def test_consumed_items_are_each_named_once(events: list[LoggedEvent]) -> None:
    state, newly_consumed = updated_state(None, events, POLICY)
    consumed = [logged.event.item_id for logged in events if logged.event.event_type == pb.EVENT_TYPE_CONSUME]
    newly_consumed_ids = [logged.event.item_id for logged in newly_consumed]
    assert list(state.consumed_item_ids) == list(dict.fromkeys(consumed)) == newly_consumed_ids
