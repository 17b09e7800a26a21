"""What the operator can set, with defaults that run on one machine; `settings_loader` reads them.

Everything is frozen and typed; times and sizes have their unit in the name; keys that are not listed here are refused.
"""

from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    field_serializer,
    field_validator,
    model_validator,
)

from tastemaker.v1 import feedback_service_pb2, recommendation_service_pb2
from tastemaker_server.store_urls import REDIS_URL_PATTERN, mask_passwords

__all__ = [
    "EventTypeName",
    "FeedbackSettings",
    "LoggingSettings",
    "MetricsSettings",
    "ModelServerSettings",
    "ServerSettings",
    "Settings",
    "StateSettings",
    "StoresSettings",
    "SurfaceSettings",
    "TierName",
]

_Address = Annotated[str, StringConstraints(pattern=r"^(\[[0-9a-fA-F:]+\]|[^\s:\[\]]+):\d{1,5}$")]
_AddressOrNone = Annotated[str, StringConstraints(pattern=r"^((\[[0-9a-fA-F:]+\]|[^\s:\[\]]+):\d{1,5})?$")]
_OnlineStore = Annotated[
    str,
    StringConstraints(pattern=f"^(sqlite|{REDIS_URL_PATTERN})$"),
    PlainSerializer(mask_passwords),  # settings are printed
]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
_Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class TierName(Enum):
    """The tiers, as the configuration names them."""

    LIVE_MODEL = "LIVE_MODEL"
    PRECOMPUTED = "PRECOMPUTED"
    POPULAR = "POPULAR"

    def __init__(self, name: str) -> None:
        self.number: recommendation_service_pb2.Tier = getattr(recommendation_service_pb2, f"TIER_{name}")
        """The number of the tier in the API."""


class EventTypeName(Enum):
    """The types of events, as the configuration names them."""

    VIEW = "VIEW"
    CLICK = "CLICK"
    ADD_TO_CART = "ADD_TO_CART"
    PURCHASE = "PURCHASE"
    CONSUME = "CONSUME"
    RATE = "RATE"

    @property
    def number(self) -> int:
        """The number of the type in the API."""
        return feedback_service_pb2.EventType.Value(f"EVENT_TYPE_{self.value}")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class ServerSettings(_Section):
    """`[server]`: the process itself."""

    address: _Address = "127.0.0.1:50051"
    """Where to listen, as host:port. Port 0 takes a free one and prints it."""
    data_dir: Path = Path("var/front")
    """Folder of the embedded stores and of the key that signs attribution tokens; made where it is missing."""
    drain_delay_seconds: float = Field(default=0.0, ge=0, le=300)
    """After SIGTERM: how long to go on serving with health NOT_SERVING, so that load balancers turn away first."""
    drain_grace_seconds: float = Field(default=10.0, ge=0, le=300)
    """After that: how long calls in flight may take to finish before they are cut off."""
    max_connection_age_seconds: float = Field(default=300.0, gt=0, le=86_400)
    """How long a client may keep a connection, give or take a tenth; then it opens another, and finds fronts that were
    added since."""
    max_connection_age_grace_seconds: float = Field(default=60.0, gt=0, le=86_400)
    """After that: how long the calls that are on it may take to finish before they are cut off."""
    reuse_port: bool = False
    """True lets several fronts share one port (SO_REUSEPORT); false makes a taken port an error."""


class MetricsSettings(_Section):
    """`[metrics]`: what Prometheus reads."""

    address: _AddressOrNone = ""
    """Where to listen for Prometheus, as host:port, HTTP. Port 0 takes a free one and logs it. Empty: nowhere."""


class StoresSettings(_Section):
    """`[stores]`: where events and state are kept."""

    event_log: str = Field(default="sqlite", repr=False)
    """`sqlite`: a file in `server.data_dir`, for one front. `postgresql://user@host:5432/database`: PostgreSQL, for any
    number of fronts; needs `pip install 'tastemaker[postgres]'`."""
    event_log_password_file: str = ""
    """A file with PostgreSQL's password, read anew for each connection; empty where the URL, PGPASSWORD or PGPASSFILE
    has it."""
    online_store: _OnlineStore = "sqlite"
    """`sqlite`, in `server.data_dir`; or a Redis or Valkey server: redis://USER:PASSWORD@HOST:PORT/NUMBER, rediss://
    with TLS, redis+cluster:// or rediss+cluster:// where it is a node of a cluster."""
    online_store_timeout_milliseconds: int = Field(default=500, ge=10, le=60_000)
    """How long a Redis server may take for an answer."""

    @field_validator("event_log")
    @classmethod
    def _names_an_event_log(cls, event_log: str) -> str:
        if event_log != "sqlite" and not event_log.startswith(("postgresql://", "postgres://")):
            raise ValueError('names no event log; write "sqlite" or "postgresql://user@host:5432/database"')
        return event_log

    @field_serializer("event_log")
    def _without_password(self, event_log: str) -> str:
        return mask_passwords(event_log)


class ModelServerSettings(_Section):
    """`[model_server]`: where models are asked; TensorFlow Serving's API."""

    address: _Address = "127.0.0.1:8500"
    """The model server's gRPC address, as host:port."""


class FeedbackSettings(_Section):
    """`[feedback]`: which events are good and what they mean."""

    max_clock_skew_seconds: float = Field(default=300.0, ge=0)
    """How far in the future an event's time may lie."""
    min_rating: float = 0.5
    """The lowest rating allowed."""
    max_rating: float = 5.0
    """The highest rating allowed."""
    consuming_event_types: tuple[EventTypeName, ...] = (
        EventTypeName.CONSUME,
        EventTypeName.PURCHASE,
        EventTypeName.RATE,
    )
    """Events of these types keep their item off the user's later pages, and count for POPULAR.

    They shape state as events arrive: a change holds for later events only, until the online store is built anew from
    the log."""

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> "FeedbackSettings":
        if self.min_rating > self.max_rating:
            raise ValueError(f"min_rating {self.min_rating} is above max_rating {self.max_rating}; swap them")
        return self


class LoggingSettings(_Section):
    """`[logging]`: what the process writes to stderr."""

    format: Literal["text", "json"] = "text"
    """`text`: lines for people. `json`: an object each, for machines."""
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The lowest level that is written; `--log-level` comes before it. DEBUG has a line for every call."""
    slow_call_milliseconds: int = Field(default=500, ge=1, le=600_000)
    """A call that takes longer has a line at INFO, though it went well."""


class StateSettings(_Section):
    """`[state]`: how much is kept of each user in the online store. The event log keeps everything."""

    max_history_events: int = Field(default=200, ge=1, le=10_000)
    """How many of a user's newest events models can see."""
    max_consumed_items: int = Field(default=10_000, ge=1, le=1_000_000)
    """How many consumed items are kept off a user's pages; the earliest are forgotten first."""


class SurfaceSettings(_Section):
    """`[surfaces.NAME]`: one place where lists are shown."""

    model: _Name | None = None
    """The model behind LIVE_MODEL, as the model server names it. Required where `tiers` has LIVE_MODEL."""
    version_label: _Label | None = None
    """The label of the version to ask, such as `stable`, as `tastemaker-jobs promote` moves it. Default: none, the
    newest version that the model server serves."""
    tiers: tuple[TierName, ...] = Field(
        default=(TierName.LIVE_MODEL, TierName.PRECOMPUTED, TierName.POPULAR), min_length=1
    )
    """Where items come from, in the order in which they are tried until the page is full."""
    default_results: int = Field(default=10, ge=1)
    """The length of a page when the caller does not say."""
    max_results: int = Field(default=100, ge=1, le=1000)
    """The longest page; requests for more are capped."""
    history_length: int = Field(default=50, ge=1, le=1000)
    """How many of the newest events go to the model."""
    default_deadline_milliseconds: int = Field(default=500, ge=1, le=60_000)
    """The deadline of a call that comes without one."""
    live_model_timeout_milliseconds: int = Field(default=200, ge=1, le=60_000)
    """How long to wait for the model at most; less where the caller's deadline is nearer."""
    reserve_milliseconds: int = Field(default=15, ge=0, le=10_000)
    """What is kept of the deadline for the tiers after LIVE_MODEL and for the way back."""

    lists: _Name | None = None
    """The set of lists behind PRECOMPUTED, by user or by item. Default: the surface's own name."""
    popular_lists: _Name | None = None
    """The set of lists by segment from which POPULAR answers. Default: none, POPULAR counts users."""
    max_list_age_hours: float = Field(default=48.0, gt=0)
    """Lists of either kind that were computed longer ago show as NOT_SERVING in health; they are used all the same."""

    @field_validator("tiers")
    @classmethod
    def _no_tier_twice(cls, tiers: tuple[TierName, ...]) -> tuple[TierName, ...]:
        if len(set(tiers)) < len(tiers):
            raise ValueError("a tier is named twice; name each once")
        return tiers

    @model_validator(mode="after")
    def _fits_together(self) -> "SurfaceSettings":
        if TierName.LIVE_MODEL in self.tiers and self.model is None:
            raise ValueError("tiers has LIVE_MODEL and no model is named; set model, or leave LIVE_MODEL out")
        if self.version_label is not None and self.model is None:
            raise ValueError("version_label is set and no model is named; set model, or leave version_label out")
        if self.default_results > self.max_results:
            raise ValueError(
                f"default_results {self.default_results} is above max_results {self.max_results}; lower it"
            )
        return self


class Settings(_Section):
    """The whole configuration of a front."""

    server: ServerSettings = ServerSettings()
    """The process itself."""
    metrics: MetricsSettings = MetricsSettings()
    """What Prometheus reads."""
    stores: StoresSettings = StoresSettings()
    """Where events and state are kept."""
    model_server: ModelServerSettings = ModelServerSettings()
    """Where models are asked."""
    feedback: FeedbackSettings = FeedbackSettings()
    """Which events are good and what they mean."""
    state: StateSettings = StateSettings()
    """How much is kept of each user."""
    logging: LoggingSettings = LoggingSettings()
    """What the process writes to stderr."""
    surfaces: dict[_Name, SurfaceSettings] = Field(default={"home": SurfaceSettings(model="rnn")}, min_length=1)
    """The places where lists are shown, by name."""
