"""The clients and the command against a real front process."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tastemaker_client import (
    AsyncClient,
    Client,
    Event,
    EventIdReusedError,
    EventType,
    FeedbackReceipt,
    HealthStatus,
    InvalidRequestError,
    Tier,
    TierOutcome,
    UnavailableError,
    UnknownSurfaceError,
)
from tastemaker_client.cli import main
from tastemaker_client.readiness import wait_until_serving

TIMEOUT_SECONDS = 20


@pytest.fixture
def front(start_front: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    front = start_front()
    monkeypatch.setenv("TASTEMAKER_ADDRESS", front.address)
    return front


def consumed(user_id: str, *item_ids: str) -> list[Event]:
    return [Event(user_id, item_id, EventType.CONSUME) for item_id in item_ids]


def test_feedback_shows_in_the_next_page(front: Any) -> None:
    with Client(front.address) as client:
        receipt = client.feedback(consumed("1", "a", "b") + consumed("2", "a"), timeout_seconds=TIMEOUT_SECONDS)
        known = client.recommend("2", "home", timeout_seconds=TIMEOUT_SECONDS)
        unknown = client.recommend("nobody", "home", timeout_seconds=TIMEOUT_SECONDS)

    assert receipt == FeedbackReceipt(accepted_count=3, duplicate_count=0)
    assert known.item_ids == ("b",)
    assert unknown.item_ids == ("a", "b")
    assert unknown.tier is Tier.POPULAR
    assert {report.tier: report.outcome for report in unknown.tier_reports}[Tier.LIVE_MODEL] is TierOutcome.NO_HISTORY


async def test_events_of_a_page_are_accepted_and_sending_them_again_changes_nothing(front: Any) -> None:
    async with AsyncClient(front.address) as client:
        await client.feedback(consumed("1", "a"), timeout_seconds=TIMEOUT_SECONDS)
        page = await client.recommend("2", "home", timeout_seconds=TIMEOUT_SECONDS)
        events = [page.event("a", EventType.CLICK), page.event("a", EventType.RATE, rating=4.5)]
        first = await client.feedback(events, timeout_seconds=TIMEOUT_SECONDS)
        again = await client.feedback(events, timeout_seconds=TIMEOUT_SECONDS)

    assert first == FeedbackReceipt(accepted_count=2, duplicate_count=0)
    assert again == FeedbackReceipt(accepted_count=0, duplicate_count=2)


def test_every_wrong_field_comes_back_typed(front: Any) -> None:
    future = datetime.datetime(2999, 1, 1, tzinfo=datetime.UTC)
    events = [Event("", "50", EventType.CONSUME, rating=3), Event("42", "50", EventType.CLICK, time=future)]

    with Client(front.address) as client, pytest.raises(InvalidRequestError) as caught:
        client.feedback(events, timeout_seconds=TIMEOUT_SECONDS)

    fields = {violation.field for violation in caught.value.field_violations}
    assert fields == {"events[0].user_id", "events[0].rating", "events[1].event_time"}
    assert (caught.value.reason, caught.value.field_count) == ("INVALID_FIELDS", 3)


def test_more_wrong_fields_than_fit_are_counted(front: Any) -> None:
    with Client(front.address) as client, pytest.raises(InvalidRequestError) as caught:
        client.feedback([Event("", "", EventType.CONSUME) for _ in range(500)], timeout_seconds=TIMEOUT_SECONDS)

    assert caught.value.field_count == 1000
    assert 0 < len(caught.value.field_violations) < 1000


def test_an_unknown_surface_and_a_reused_id_have_exceptions_of_their_own(front: Any) -> None:
    with Client(front.address) as client:
        with pytest.raises(UnknownSurfaceError) as surface:
            client.recommend("42", "hoem", timeout_seconds=TIMEOUT_SECONDS)
        client.feedback([Event("42", "50", EventType.CLICK, event_id="e")], timeout_seconds=TIMEOUT_SECONDS)
        with pytest.raises(EventIdReusedError) as reused:
            client.feedback([Event("42", "7", EventType.CLICK, event_id="e")], timeout_seconds=TIMEOUT_SECONDS)

    assert surface.value.known_surfaces == ("home",)
    assert [violation.field for violation in reused.value.field_violations] == ["events[0].event_id"]


def test_a_front_that_is_gone_is_unavailable_without_a_reason(front: Any) -> None:
    with Client(front.address) as client:
        assert client.health(timeout_seconds=TIMEOUT_SECONDS) is HealthStatus.SERVING
        front.kill()
        with pytest.raises(UnavailableError) as caught:
            client.recommend("42", "home", timeout_seconds=TIMEOUT_SECONDS)

    assert (caught.value.reason, caught.value.retry_delay_seconds) == ("", None)


def test_a_client_finds_the_front_again(
    front: Any, start_front: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(front.address) as client:
        client.feedback(consumed("1", "a"), timeout_seconds=TIMEOUT_SECONDS)
        front.kill()
        monkeypatch.setenv("TASTEMAKER_FRONT_SERVER__ADDRESS", front.address)
        start_front(data_dir=front.data_dir)
        wait_until_serving(client, [""], wait_seconds=TIMEOUT_SECONDS, timeout_seconds=TIMEOUT_SECONDS)
        page = client.recommend("2", "home", timeout_seconds=TIMEOUT_SECONDS)

    assert page.item_ids == ("a",)


def test_the_command_asks_tells_and_asks_again(front: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "ratings.csv"
    file.write_text("user_id,item_id,rating,timestamp\n1,50,5,881250949\n1,7,3,881250950\n2,50,4,0\n", encoding="utf-8")

    assert main(["health", "--wait", "20"]) == 0
    assert main(["import-events", str(file)]) == 0
    assert "3 events: 3 accepted, 0 duplicate" in capsys.readouterr().out
    with file.open("a", encoding="utf-8") as grown:
        grown.write("2,9,4,881250951\n")
    assert main(["import-events", str(file)]) == 0
    assert "4 events: 1 accepted, 3 duplicate" in capsys.readouterr().out

    ask = ["recommend", "--user", "3", "--surface", "home", "--timeout-seconds", "20"]
    assert main(ask) == 0
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines()[1:4]] == [
        ["1", "50", "2", "POPULAR"],
        ["2", "7", "1", "POPULAR"],
        ["3", "9", "1", "POPULAR"],
    ]
    token = out.splitlines()[-1].removeprefix("attribution token: ")
    tell = ["feedback", "--user", "3", "--item", "50", "--type", "consume", "--attribution-token", token]
    assert main([*tell, "--timeout-seconds", "20"]) == 0
    capsys.readouterr()
    assert main(ask) == 0
    assert "  50  " not in capsys.readouterr().out


def test_the_command_shows_wrong_fields_and_components(front: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", "--user", "", "--surface", "home", "--max-results", "-1", "--timeout-seconds", "20"]) == 1
    error = capsys.readouterr().err.splitlines()
    assert error[0] == "error: the request has 2 wrong fields"
    assert [line.split(" (")[0] for line in error[1:]] == ["  --user", "  --max-results"]

    assert main(["health", "server", "model/rnn", "nope", "--timeout-seconds", "20"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "server     SERVING",
        "model/rnn  NOT_SERVING",
        "nope       SERVICE_UNKNOWN",
    ]


def test_a_file_that_the_server_refuses_names_the_line(
    front: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "ratings.csv"
    file.write_text("user_id,item_id,rating,timestamp\n1,50,5,0\n1,7,9,0\n", encoding="utf-8")

    assert main(["import-events", str(file)]) == 1
    assert "  line 3: rating: " in capsys.readouterr().err


def test_errors_of_a_front_name_the_callers_request_id(front: Any) -> None:
    with Client(front.address) as client:
        with pytest.raises(UnknownSurfaceError) as unknown:
            client.recommend("42", "nowhere", request_id="shelf 3", timeout_seconds=TIMEOUT_SECONDS)
        with pytest.raises(InvalidRequestError) as invalid:
            client.feedback(consumed("", "50"), request_id="fb-1", timeout_seconds=TIMEOUT_SECONDS)
    assert (unknown.value.request_id, invalid.value.request_id) == ("shelf 3", "fb-1")
