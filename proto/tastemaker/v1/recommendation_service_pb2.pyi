import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Tier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TIER_UNSPECIFIED: _ClassVar[Tier]
    TIER_LIVE_MODEL: _ClassVar[Tier]
    TIER_PRECOMPUTED: _ClassVar[Tier]
    TIER_POPULAR: _ClassVar[Tier]

class TierOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TIER_OUTCOME_UNSPECIFIED: _ClassVar[TierOutcome]
    TIER_OUTCOME_USED: _ClassVar[TierOutcome]
    TIER_OUTCOME_NOT_NEEDED: _ClassVar[TierOutcome]
    TIER_OUTCOME_NO_HISTORY: _ClassVar[TierOutcome]
    TIER_OUTCOME_EMPTY: _ClassVar[TierOutcome]
    TIER_OUTCOME_TIMED_OUT: _ClassVar[TierOutcome]
    TIER_OUTCOME_SKIPPED_FOR_DEADLINE: _ClassVar[TierOutcome]
    TIER_OUTCOME_UNAVAILABLE: _ClassVar[TierOutcome]
    TIER_OUTCOME_NO_LIST: _ClassVar[TierOutcome]

class ItemReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ITEM_REASON_UNSPECIFIED: _ClassVar[ItemReason]
    ITEM_REASON_RANKED_FROM_HISTORY: _ClassVar[ItemReason]
    ITEM_REASON_IN_USER_LIST: _ClassVar[ItemReason]
    ITEM_REASON_POPULAR: _ClassVar[ItemReason]
    ITEM_REASON_SIMILAR_TO_ITEM: _ClassVar[ItemReason]
TIER_UNSPECIFIED: Tier
TIER_LIVE_MODEL: Tier
TIER_PRECOMPUTED: Tier
TIER_POPULAR: Tier
TIER_OUTCOME_UNSPECIFIED: TierOutcome
TIER_OUTCOME_USED: TierOutcome
TIER_OUTCOME_NOT_NEEDED: TierOutcome
TIER_OUTCOME_NO_HISTORY: TierOutcome
TIER_OUTCOME_EMPTY: TierOutcome
TIER_OUTCOME_TIMED_OUT: TierOutcome
TIER_OUTCOME_SKIPPED_FOR_DEADLINE: TierOutcome
TIER_OUTCOME_UNAVAILABLE: TierOutcome
TIER_OUTCOME_NO_LIST: TierOutcome
ITEM_REASON_UNSPECIFIED: ItemReason
ITEM_REASON_RANKED_FROM_HISTORY: ItemReason
ITEM_REASON_IN_USER_LIST: ItemReason
ITEM_REASON_POPULAR: ItemReason
ITEM_REASON_SIMILAR_TO_ITEM: ItemReason

class RecommendRequest(_message.Message):
    __slots__ = ("user_id", "surface", "max_results", "request_id", "item_id", "segment")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SURFACE_FIELD_NUMBER: _ClassVar[int]
    MAX_RESULTS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    surface: str
    max_results: int
    request_id: str
    item_id: str
    segment: str
    def __init__(self, user_id: _Optional[str] = ..., surface: _Optional[str] = ..., max_results: _Optional[int] = ..., request_id: _Optional[str] = ..., item_id: _Optional[str] = ..., segment: _Optional[str] = ...) -> None: ...

class RecommendedItem(_message.Message):
    __slots__ = ("item_id", "score", "tier", "reason")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    score: float
    tier: Tier
    reason: ItemReason
    def __init__(self, item_id: _Optional[str] = ..., score: _Optional[float] = ..., tier: _Optional[_Union[Tier, str]] = ..., reason: _Optional[_Union[ItemReason, str]] = ...) -> None: ...

class TierReport(_message.Message):
    __slots__ = ("tier", "outcome", "item_count", "list_generation", "list_age")
    TIER_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    LIST_GENERATION_FIELD_NUMBER: _ClassVar[int]
    LIST_AGE_FIELD_NUMBER: _ClassVar[int]
    tier: Tier
    outcome: TierOutcome
    item_count: int
    list_generation: int
    list_age: _duration_pb2.Duration
    def __init__(self, tier: _Optional[_Union[Tier, str]] = ..., outcome: _Optional[_Union[TierOutcome, str]] = ..., item_count: _Optional[int] = ..., list_generation: _Optional[int] = ..., list_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RecommendResponse(_message.Message):
    __slots__ = ("items", "tier", "tier_reports", "attribution_token", "request_id")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    TIER_REPORTS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTION_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[RecommendedItem]
    tier: Tier
    tier_reports: _containers.RepeatedCompositeFieldContainer[TierReport]
    attribution_token: str
    request_id: str
    def __init__(self, items: _Optional[_Iterable[_Union[RecommendedItem, _Mapping]]] = ..., tier: _Optional[_Union[Tier, str]] = ..., tier_reports: _Optional[_Iterable[_Union[TierReport, _Mapping]]] = ..., attribution_token: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...
