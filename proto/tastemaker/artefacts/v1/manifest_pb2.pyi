import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelManifest(_message.Message):
    __slots__ = ("name", "version", "contract_version", "created_time", "code_version", "parent_version", "data_window", "metrics", "baselines", "config_toml", "signatures", "source", "gate_objections", "force_reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_TIME_FIELD_NUMBER: _ClassVar[int]
    CODE_VERSION_FIELD_NUMBER: _ClassVar[int]
    PARENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    DATA_WINDOW_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    BASELINES_FIELD_NUMBER: _ClassVar[int]
    CONFIG_TOML_FIELD_NUMBER: _ClassVar[int]
    SIGNATURES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    GATE_OBJECTIONS_FIELD_NUMBER: _ClassVar[int]
    FORCE_REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    contract_version: int
    created_time: _timestamp_pb2.Timestamp
    code_version: str
    parent_version: int
    data_window: DataWindow
    metrics: _containers.RepeatedCompositeFieldContainer[Metric]
    baselines: _containers.RepeatedCompositeFieldContainer[Baseline]
    config_toml: str
    signatures: _containers.RepeatedScalarFieldContainer[str]
    source: str
    gate_objections: _containers.RepeatedScalarFieldContainer[str]
    force_reason: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., contract_version: _Optional[int] = ..., created_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., code_version: _Optional[str] = ..., parent_version: _Optional[int] = ..., data_window: _Optional[_Union[DataWindow, _Mapping]] = ..., metrics: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ..., baselines: _Optional[_Iterable[_Union[Baseline, _Mapping]]] = ..., config_toml: _Optional[str] = ..., signatures: _Optional[_Iterable[str]] = ..., source: _Optional[str] = ..., gate_objections: _Optional[_Iterable[str]] = ..., force_reason: _Optional[str] = ...) -> None: ...

class DataWindow(_message.Message):
    __slots__ = ("dataset", "sha256", "event_count", "user_count", "item_count", "first_event_time", "last_event_time")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    EVENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    USER_COUNT_FIELD_NUMBER: _ClassVar[int]
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    sha256: str
    event_count: int
    user_count: int
    item_count: int
    first_event_time: _timestamp_pb2.Timestamp
    last_event_time: _timestamp_pb2.Timestamp
    def __init__(self, dataset: _Optional[str] = ..., sha256: _Optional[str] = ..., event_count: _Optional[int] = ..., user_count: _Optional[int] = ..., item_count: _Optional[int] = ..., first_event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("name", "value", "lower", "upper", "protocol", "user_count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    USER_COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    lower: float
    upper: float
    protocol: str
    user_count: int
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., lower: _Optional[float] = ..., upper: _Optional[float] = ..., protocol: _Optional[str] = ..., user_count: _Optional[int] = ...) -> None: ...

class Baseline(_message.Message):
    __slots__ = ("name", "metrics")
    NAME_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    name: str
    metrics: _containers.RepeatedCompositeFieldContainer[Metric]
    def __init__(self, name: _Optional[str] = ..., metrics: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ...) -> None: ...
