from tastemaker.artefacts.v1 import lists_pb2 as _lists_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UserState(_message.Message):
    __slots__ = ("history", "consumed_item_ids")
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    CONSUMED_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    history: _containers.RepeatedCompositeFieldContainer[HistoryEntry]
    consumed_item_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, history: _Optional[_Iterable[_Union[HistoryEntry, _Mapping]]] = ..., consumed_item_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class HistoryEntry(_message.Message):
    __slots__ = ("item_id", "event_type", "event_time_micros", "position")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_MICROS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    event_type: int
    event_time_micros: int
    position: int
    def __init__(self, item_id: _Optional[str] = ..., event_type: _Optional[int] = ..., event_time_micros: _Optional[int] = ..., position: _Optional[int] = ...) -> None: ...

class CountedUserState(_message.Message):
    __slots__ = ("state", "uncounted_item_ids", "uncounted_positions")
    STATE_FIELD_NUMBER: _ClassVar[int]
    UNCOUNTED_ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    UNCOUNTED_POSITIONS_FIELD_NUMBER: _ClassVar[int]
    state: UserState
    uncounted_item_ids: _containers.RepeatedScalarFieldContainer[str]
    uncounted_positions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, state: _Optional[_Union[UserState, _Mapping]] = ..., uncounted_item_ids: _Optional[_Iterable[str]] = ..., uncounted_positions: _Optional[_Iterable[int]] = ...) -> None: ...

class ListPointer(_message.Message):
    __slots__ = ("active", "previous", "active_attempt", "previous_attempt")
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    active: _lists_pb2.ListGeneration
    previous: _lists_pb2.ListGeneration
    active_attempt: str
    previous_attempt: str
    def __init__(self, active: _Optional[_Union[_lists_pb2.ListGeneration, _Mapping]] = ..., previous: _Optional[_Union[_lists_pb2.ListGeneration, _Mapping]] = ..., active_attempt: _Optional[str] = ..., previous_attempt: _Optional[str] = ...) -> None: ...

class RankedList(_message.Message):
    __slots__ = ("item_ids", "scores")
    ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    item_ids: _containers.RepeatedScalarFieldContainer[str]
    scores: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, item_ids: _Optional[_Iterable[str]] = ..., scores: _Optional[_Iterable[float]] = ...) -> None: ...

class Attribution(_message.Message):
    __slots__ = ("request_id", "surface", "served_time_micros", "tier")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SURFACE_FIELD_NUMBER: _ClassVar[int]
    SERVED_TIME_MICROS_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    surface: str
    served_time_micros: int
    tier: int
    def __init__(self, request_id: _Optional[str] = ..., surface: _Optional[str] = ..., served_time_micros: _Optional[int] = ..., tier: _Optional[int] = ...) -> None: ...
