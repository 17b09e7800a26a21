"""The Python client of Tastemaker: `Client` (blocking), `AsyncClient` (asyncio), and the `tastemaker` command in `cli`.

It needs grpcio and protobuf, nothing else: a backend that only asks for recommendations must not load TensorFlow.
"""

from tastemaker_client.aio import AsyncClient
from tastemaker_client.client import Client
from tastemaker_client.errors import (
    DeadlineExceededError,
    EventIdReusedError,
    Failure,
    FieldViolation,
    InternalError,
    InvalidRequestError,
    TastemakerError,
    UnavailableError,
    UnknownSurfaceError,
)
from tastemaker_client.event import Event, EventType, FeedbackReceipt
from tastemaker_client.health import HealthStatus
from tastemaker_client.page import ItemReason, Page, RecommendedItem, Tier, TierOutcome, TierReport

__all__ = [
    "AsyncClient",
    "Client",
    "DeadlineExceededError",
    "Event",
    "EventIdReusedError",
    "EventType",
    "Failure",
    "FeedbackReceipt",
    "FieldViolation",
    "HealthStatus",
    "InternalError",
    "InvalidRequestError",
    "ItemReason",
    "Page",
    "RecommendedItem",
    "TastemakerError",
    "Tier",
    "TierOutcome",
    "TierReport",
    "UnavailableError",
    "UnknownSurfaceError",
]
