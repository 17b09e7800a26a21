import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListKey(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LIST_KEY_UNSPECIFIED: _ClassVar[ListKey]
    LIST_KEY_USER: _ClassVar[ListKey]
    LIST_KEY_ITEM: _ClassVar[ListKey]
    LIST_KEY_SEGMENT: _ClassVar[ListKey]
LIST_KEY_UNSPECIFIED: ListKey
LIST_KEY_USER: ListKey
LIST_KEY_ITEM: ListKey
LIST_KEY_SEGMENT: ListKey

class ListsManifest(_message.Message):
    __slots__ = ("name", "generation", "contract_version", "key", "created_time", "code_version", "model_name", "model_version", "event_log_position", "parent_generation", "max_list_length", "list_count", "skipped", "shards")
    class SkippedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_VERSION_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    CREATED_TIME_FIELD_NUMBER: _ClassVar[int]
    CODE_VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    EVENT_LOG_POSITION_FIELD_NUMBER: _ClassVar[int]
    PARENT_GENERATION_FIELD_NUMBER: _ClassVar[int]
    MAX_LIST_LENGTH_FIELD_NUMBER: _ClassVar[int]
    LIST_COUNT_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    generation: int
    contract_version: int
    key: ListKey
    created_time: _timestamp_pb2.Timestamp
    code_version: str
    model_name: str
    model_version: int
    event_log_position: int
    parent_generation: int
    max_list_length: int
    list_count: int
    skipped: _containers.ScalarMap[str, int]
    shards: _containers.RepeatedCompositeFieldContainer[ListShard]
    def __init__(self, name: _Optional[str] = ..., generation: _Optional[int] = ..., contract_version: _Optional[int] = ..., key: _Optional[_Union[ListKey, str]] = ..., created_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., code_version: _Optional[str] = ..., model_name: _Optional[str] = ..., model_version: _Optional[int] = ..., event_log_position: _Optional[int] = ..., parent_generation: _Optional[int] = ..., max_list_length: _Optional[int] = ..., list_count: _Optional[int] = ..., skipped: _Optional[_Mapping[str, int]] = ..., shards: _Optional[_Iterable[_Union[ListShard, _Mapping]]] = ...) -> None: ...

class ListShard(_message.Message):
    __slots__ = ("file", "list_count", "byte_count", "sha256")
    FILE_FIELD_NUMBER: _ClassVar[int]
    LIST_COUNT_FIELD_NUMBER: _ClassVar[int]
    BYTE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    file: str
    list_count: int
    byte_count: int
    sha256: str
    def __init__(self, file: _Optional[str] = ..., list_count: _Optional[int] = ..., byte_count: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class ListGeneration(_message.Message):
    __slots__ = ("generation", "key", "created_time_micros", "model_name", "model_version", "event_log_position", "list_count")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    CREATED_TIME_MICROS_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    EVENT_LOG_POSITION_FIELD_NUMBER: _ClassVar[int]
    LIST_COUNT_FIELD_NUMBER: _ClassVar[int]
    generation: int
    key: ListKey
    created_time_micros: int
    model_name: str
    model_version: int
    event_log_position: int
    list_count: int
    def __init__(self, generation: _Optional[int] = ..., key: _Optional[_Union[ListKey, str]] = ..., created_time_micros: _Optional[int] = ..., model_name: _Optional[str] = ..., model_version: _Optional[int] = ..., event_log_position: _Optional[int] = ..., list_count: _Optional[int] = ...) -> None: ...
