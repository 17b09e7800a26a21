"""How events change what the front knows about a user; the same for every online store."""

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass

from tastemaker.artefacts.v1.state_pb2 import HistoryEntry, UserState
from tastemaker_server.event_log import LoggedEvent

__all__ = ["StatePolicy", "updated_state"]


@dataclass(frozen=True)
class StatePolicy:
    """What is kept, from the settings."""

    consuming_event_types: frozenset[int]
    """Numbers of the tastemaker.v1.EventType values that make an item consumed."""
    max_history_events: int
    """How many events a history holds."""
    max_consumed_items: int
    """How many consumed items are remembered."""


def updated_state(
    state: UserState | None, events: Iterable[LoggedEvent], policy: StatePolicy
) -> tuple[UserState, list[LoggedEvent]]:
    """Applies events of one user.

    Events may come late: the history is ordered by event time, ties by position in the log. Applying an event that
    the history still holds changes nothing. How the events are cut into batches does not matter.

    Args:
        state: The state so far, left as it is; None for a user not seen before.
        events: Events of this user, in log order.
        policy: What to keep.

    Returns:
        The new state, and those of the events with which an item became consumed, in log order.
    """
    entries = [_sort_key(entry) for entry in state.history] if state is not None else []
    consumed = dict.fromkeys(state.consumed_item_ids) if state is not None else {}
    known = {position for _, position, _, _ in entries}
    newly_consumed: list[LoggedEvent] = []
    for logged in events:
        event = logged.event
        if logged.position not in known:
            known.add(logged.position)
            insort(entries, (logged.event_time_micros, logged.position, event.item_id, int(event.event_type)))
        if event.event_type in policy.consuming_event_types and event.item_id not in consumed:
            consumed[event.item_id] = None
            newly_consumed.append(logged)
            if len(consumed) > policy.max_consumed_items:  # here and not at the end: batches must not matter
                del consumed[next(iter(consumed))]
    history = [
        HistoryEntry(item_id=item_id, event_type=event_type, event_time_micros=micros, position=position)
        for micros, position, item_id, event_type in entries[-policy.max_history_events :]
    ]
    return UserState(history=history, consumed_item_ids=list(consumed)[-policy.max_consumed_items :]), newly_consumed


def _sort_key(entry: HistoryEntry) -> tuple[int, int, str, int]:
    return entry.event_time_micros, entry.position, entry.item_id, entry.event_type
