"""The `tastemaker` command: what it prints, what it says of errors, and its exit status."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1.health_pb2 import HealthCheckResponse

from tastemaker.v1.feedback_service_pb2 import FeedbackResponse
from tastemaker.v1.recommendation_service_pb2 import RecommendResponse
from tastemaker_client.cli import main


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    error: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def error_lines(self) -> list[str]:
        return self.error.splitlines()


Run = Callable[..., Outcome]
ASK = ("recommend", "--user", "42", "--surface", "home", "--timeout-seconds", "20")
TELL = ("feedback", "--user", "42", "--timeout-seconds", "20")


@pytest.fixture
def run(peer: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process, against the peer unless an address is given."""
    monkeypatch.setenv("TASTEMAKER_ADDRESS", peer.address)

    def run(*arguments: str) -> Outcome:
        try:
            status = main(arguments)
        except SystemExit as end:  # argparse
            status = int(end.code or 0)
        out, error = capsys.readouterr()
        return Outcome(status, out, error)

    return run


@pytest.fixture
def items(tmp_path: Path) -> Path:
    path = tmp_path / "items.csv"
    path.write_text('item_id,title,year\n50,"Star Wars, Episode IV",1977\n9,Dead Man Walking,1995\n', encoding="utf-8")
    return path


def test_recommend_prints_a_ranked_table(run: Run, items: Path) -> None:
    outcome = run(*ASK, "--items", str(items))

    assert outcome.status == 0
    assert outcome.lines == [
        "rank  item  title                  score  tier",
        "   1  50    Star Wars, Episode IV  4.500  LIVE_MODEL",
        "   2  7                              381  POPULAR",
        "",
        "answered by LIVE_MODEL: ranked just now by a model, from this user's newest history",
        "  LIVE_MODEL   gave 1 item",
        "  PRECOMPUTED  has no list for this user or item: the batch job has not run, or it was not in it",
        "  POPULAR      gave 1 item",
        "attribution token: signed-token",
    ]


def test_recommend_takes_the_item_and_the_segment_and_shows_the_lists(run: Run, peer: Any) -> None:
    report = {"tier": "TIER_PRECOMPUTED", "outcome": "TIER_OUTCOME_USED", "item_count": 2, "list_generation": 7}
    peer.answers.append(
        RecommendResponse(tier="TIER_PRECOMPUTED", tier_reports=[report | {"list_age": timedelta(hours=3)}])
    )

    outcome = run(*ASK, "--item", "50", "--segment", "nl")

    assert (peer.requests[0].item_id, peer.requests[0].segment) == ("50", "nl")
    assert "  PRECOMPUTED  gave 2 items (lists of generation 7, computed 3.0 h ago)" in outcome.lines


def test_titles_come_from_the_environment_too(run: Run, items: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASTEMAKER_ITEMS", str(items))

    assert "Star Wars" in run(*ASK).out


def test_without_titles_there_is_no_column_for_them(run: Run) -> None:
    assert run(*ASK).lines[:2] == ["rank  item  score  tier", "   1  50    4.500  LIVE_MODEL"]


def test_wide_letters_keep_the_columns_straight_and_control_characters_stay_out(run: Run, tmp_path: Path) -> None:
    items = tmp_path / "items.csv"
    items.write_text("item_id,title\n50,千と千尋\n7,a\x1b[31mb\n", encoding="utf-8")

    assert run(*ASK, "--items", str(items)).lines[1:3] == [
        "   1  50    千と千尋  4.500  LIVE_MODEL",
        "   2  7     a\ufffd[31mb     381  POPULAR",
    ]


def test_recommend_as_json(run: Run, items: Path) -> None:
    page = json.loads(run(*ASK, "--json", "--items", str(items)).out)

    assert page["user_id"] == "42"
    assert page["tier"] == "LIVE_MODEL"
    assert page["items"][0] == {
        "item_id": "50",
        "reason": "RANKED_FROM_HISTORY",
        "score": 4.5,
        "tier": "LIVE_MODEL",
        "title": "Star Wars, Episode IV",
    }
    assert page["tier_reports"][1] == {
        "tier": "PRECOMPUTED",
        "outcome": "NO_LIST",
        "item_count": 0,
        "list_generation": 0,
        "list_age_seconds": None,
    }


def test_max_results_is_sent(run: Run, peer: Any) -> None:
    run(*ASK, "--max-results", "3")

    assert peer.requests[0].max_results == 3


def test_an_empty_page_says_so(run: Run, peer: Any) -> None:
    peer.answers.append(RecommendResponse(tier="TIER_POPULAR"))

    outcome = run(*ASK)

    assert (outcome.status, outcome.lines[0]) == (0, "no items: no tier had any to offer")


def test_feedback_sends_an_event_for_each_item(run: Run, peer: Any) -> None:
    outcome = run(*TELL, "--item", "50", "--item", "7", "--type", "add-to-cart", "--attribution-token", "t")

    assert outcome.status == 0
    assert [(event.item_id, event.event_type, event.attribution_token) for event in peer.events] == [
        ("50", 3, "t"),
        ("7", 3, "t"),
    ]
    assert outcome.lines == [
        "stored: 2 accepted, 0 duplicate (stored before)",
        *(f"  ADD_TO_CART {event.item_id}  event id {event.event_id}" for event in peer.events),
    ]


def test_feedback_sends_a_rating_at_a_time_under_an_id(run: Run, peer: Any) -> None:
    time = "1997-12-04T16:55:49+01:00"
    run(*TELL, "--item", "50", "--type", "rate", "--rating", "4.5", "--event-id", "mine", "--time", time)

    (event,) = peer.events
    assert (event.event_id, event.rating, event.event_time.seconds) == ("mine", 4.5, 881_250_949)


def test_wrong_fields_are_listed_by_their_options(run: Run, peer: Any, refused_fields: Any) -> None:
    peer.answers.append(refused_fields)

    outcome = run(*TELL, "--item", "50", "--type", "consume")

    assert outcome.status == 1
    assert outcome.out == ""
    assert outcome.error_lines == [
        "error: the request has 2 wrong fields",
        "  --rating (events[1].rating): is 9; send 0.5 to 5",
        "  --item (events[1].item_id): is empty; send 1 to 256 bytes of UTF-8",
    ]


def test_a_server_that_is_not_there_is_named_with_how_to_start_one(run: Run, free_port: int) -> None:
    outcome = run(*ASK, "--address", f"127.0.0.1:{free_port}")

    assert outcome.status == 1
    assert outcome.error_lines[0] == f"error: no server answers at 127.0.0.1:{free_port}"
    assert "tastemaker-server" in outcome.error
    assert "TASTEMAKER_ADDRESS" in outcome.error


def test_a_lost_store_says_when_to_try_again(run: Run, peer: Any, refusal: Any) -> None:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(500)
    info = error_details_pb2.ErrorInfo(reason="STORE_UNAVAILABLE", domain="tastemaker")
    peer.answers += [refusal(grpc.StatusCode.UNAVAILABLE, "event_log is unavailable", [info, retry])] * 4

    outcome = run(*TELL, "--item", "50", "--type", "consume", "--event-id", "mine")

    assert outcome.status == 1
    assert outcome.error_lines == [
        "error: event_log is unavailable",
        "  try again in 0.5 s",
        f"  request id, for the server's logs: {peer.request_ids[-1]}",
        "  if it was stored nevertheless, sending it again does no harm with: --event-id mine",
    ]


def test_no_answer_in_time_says_how_long_it_waited(run: Run, peer: Any, silence: Any) -> None:
    peer.answers.append(silence)

    outcome = run(*ASK, "--timeout-seconds", "0.25")

    assert outcome.status == 1
    assert outcome.error_lines[0] == f"error: no answer from {peer.address} within 0.25 s"


def test_a_defect_names_what_to_look_for(run: Run, peer: Any, refusal: Any) -> None:
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain="tastemaker", metadata={"incident_id": "0b9e6c2e"})
    peer.answers.append(refusal(grpc.StatusCode.INTERNAL, "a defect of ours", [info]))

    outcome = run(*ASK)

    assert outcome.status == 1
    assert outcome.error_lines == [
        "error: a defect of ours",
        "  the server's logs have more: look for 0b9e6c2e",
        f"  request id, for the server's logs: {peer.request_ids[-1]}",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("recomend",), "invalid choice: 'recomend'"),
        (("recommend", "--surface", "home"), "the following arguments are required: --user"),
        ((*ASK, "--timeout-seconds", "0"), "--timeout-seconds: found '0', expected a number of seconds above 0"),
        ((*ASK, "--timeout-seconds", "soon"), "--timeout-seconds: found 'soon', expected a number of seconds above 0"),
        ((*ASK, "--max-results", "ten"), "--max-results: invalid int value: 'ten'"),
        ((*ASK, "--max-results", "99999999999"), "max_results cannot be 99999999999"),
        ((*ASK[:2], "\udcff", *ASK[3:]), r"user_id cannot be '\udcff'"),
        ((*ASK, "--items", "nowhere.csv"), "nowhere.csv: No such file or directory"),
        (
            (*TELL, "--item", "50", "--type", "watch"),
            "--type: found 'watch', expected one of view, click, add_to_cart,",
        ),
        ((*TELL, "--item", "50", "--type", "rate", "--time", "noon"), "--time: found 'noon', expected RFC 3339"),
        (
            (*TELL, "--item", "50", "--item", "7", "--type", "view", "--event-id", "a"),
            "--event-id: 1 given for 2 --item; give one for each, in the same order",
        ),
        (("health", "--wait", "-1"), "--wait: found '-1', expected a number of seconds above 0"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_sends_nothing(
    run: Run, peer: Any, arguments: tuple[str, ...], message: str
) -> None:
    outcome = run(*arguments)

    assert outcome.status == 2
    assert outcome.error_lines[0].startswith("error: ")
    assert message in outcome.error_lines[0]
    assert not peer.requests


@pytest.mark.parametrize("content", [b"id,name\n1,x\n", b"", b"item_id,title\n1,\xff\n"])
def test_bad_titles_end_with_2(run: Run, peer: Any, tmp_path: Path, content: bytes) -> None:
    items = tmp_path / "items.csv"
    items.write_bytes(content)

    outcome = run(*ASK, "--items", str(items))

    assert outcome.status == 2
    assert str(items) in outcome.error
    assert "item_id and title" in outcome.error
    assert not peer.requests


def test_import_counts_what_was_new(run: Run, peer: Any, tmp_path: Path) -> None:
    file = tmp_path / "ratings.csv"
    file.write_text("user_id,item_id,rating,timestamp\n" + "196,242,3,881250949\n" * 700, encoding="utf-8")
    peer.answers.append(FeedbackResponse(accepted_count=490, duplicate_count=10))

    outcome = run("import-events", str(file))

    assert outcome.status == 0
    assert outcome.lines == ["700 events: 690 accepted, 10 duplicate (stored before)"]
    assert outcome.error_lines == ["500 of 700 events, 71 %", "700 of 700 events, 100 %"]
    assert len({event.event_id for event in peer.events}) == 700


def test_import_of_a_bad_file_lists_the_lines_and_sends_nothing(run: Run, peer: Any, tmp_path: Path) -> None:
    file = tmp_path / "ratings.csv"
    rows = "196,242,3,881250949\n" * 600 + "196,242,three,881250949\n" * 25
    file.write_text(f"user_id,item_id,rating,timestamp\n{rows}", encoding="utf-8")

    outcome = run("import-events", str(file))

    assert outcome.status == 2
    first, *problems, rest, end = outcome.error_lines
    assert first == f"error: {file} is not a file of events"
    assert problems == [
        f"  {file}:{line}: rating: found 'three', expected a number, such as 4.5" for line in range(602, 622)
    ]
    assert (rest, end) == ("  and 5 more", "  nothing was sent")
    assert not peer.requests


def test_import_that_is_refused_names_the_lines_and_what_is_stored(
    run: Run, peer: Any, tmp_path: Path, refused_fields: Any
) -> None:
    file = tmp_path / "ratings.csv"
    file.write_text("user_id,item_id,rating,timestamp\n" + "196,242,9,881250949\n" * 600, encoding="utf-8")
    peer.answers += [FeedbackResponse(accepted_count=500), refused_fields]

    outcome = run("import-events", str(file))

    assert outcome.status == 1
    assert outcome.error_lines[1:] == [
        f"error: the server refuses rows of {file}",
        "  line 503: rating: is 9; send 0.5 to 5",
        "  line 503: item_id: is empty; send 1 to 256 bytes of UTF-8",
        "  500 events are stored; import the file again to go on, they will count as duplicates",
    ]


def test_import_without_rows_sends_nothing(run: Run, peer: Any, tmp_path: Path) -> None:
    file = tmp_path / "ratings.csv"
    file.write_text("user_id,item_id,rating,timestamp\n", encoding="utf-8")

    outcome = run("import-events", str(file))

    assert (outcome.status, outcome.lines) == (0, ["no events in the file, nothing to send"])
    assert not peer.requests


def test_import_of_a_file_without_a_header(run: Run, peer: Any, tmp_path: Path) -> None:
    file = tmp_path / "u.data"
    file.write_text("196\t242\t3\t881250949\n", encoding="utf-8")

    outcome = run("import-events", str(file), "--columns", "user_id,item_id,rating,timestamp")

    assert outcome.status == 0
    assert [(event.user_id, event.item_id) for event in peer.events] == [("196", "242")]


def test_health_lists_the_components(run: Run, peer: Any) -> None:
    outcome = run("health", "--timeout-seconds", "20")

    assert outcome.status == 0
    assert outcome.lines == [
        "server                               SERVING",
        "tastemaker.v1.RecommendationService  SERVING",
        "tastemaker.v1.FeedbackService        SERVING",
        "event_log                            SERVING",
        "online_store                         SERVING",
    ]


def test_health_of_a_component_that_does_not_serve_ends_with_1(run: Run, peer: Any, refusal: Any) -> None:
    not_serving = HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING)
    peer.answers += [HealthCheckResponse(status="SERVING"), not_serving, refusal(grpc.StatusCode.NOT_FOUND)]

    outcome = run("health", "server", "model/rnn", "model/nope", "--timeout-seconds", "20")

    assert outcome.status == 1
    assert outcome.lines == ["server      SERVING", "model/rnn   NOT_SERVING", "model/nope  SERVICE_UNKNOWN"]


def test_health_waits_until_it_serves(run: Run, peer: Any) -> None:
    peer.answers.append(HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING))

    outcome = run("health", "server", "--wait", "30", "--timeout-seconds", "20")

    assert (outcome.status, outcome.lines) == (0, ["server  SERVING"])
    assert len(peer.requests) == 2


@pytest.mark.parametrize("command", ["recommend", "feedback", "import-events", "health"])
def test_every_command_has_help_with_its_defaults(run: Run, peer: Any, command: str) -> None:
    outcome = run(command, "--help")

    assert outcome.status == 0
    assert peer.address in outcome.out.replace("\n", "")


def test_the_command_is_installed() -> None:
    command = [str(Path(sys.executable).with_name("tastemaker")), "--help"]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    assert "import-events" in finished.stdout
