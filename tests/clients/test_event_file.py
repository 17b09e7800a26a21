"""Event files: what they may look like, what is said of bad ones, and the ids of their events."""

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest

from tastemaker_client import Event, EventType
from tastemaker_client.event_file import EventFile, EventFileError

RATINGS = "user_id,item_id,rating,timestamp\n196,242,3,881250949\n186,302,4.5,891717742\n"

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "events.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def events_of(path: Path, columns: list[str] | None = None) -> list[Event]:
    return [row.event for row in EventFile(path, columns=columns).rows()]


def ids_of(path: Path) -> list[str]:
    return [event.event_id for event in events_of(path)]


def problems_of(path: Path, columns: list[str] | None = None) -> list[str]:
    with pytest.raises(EventFileError) as caught:
        EventFile(path, columns=columns).check()
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


def test_ratings_become_rate_events_in_the_order_of_the_file(write: Write) -> None:
    first, second = events_of(write(RATINGS))

    assert (first.user_id, first.item_id, first.event_type, first.rating) == ("196", "242", EventType.RATE, 3)
    assert first.time == datetime.datetime(1997, 12, 4, 15, 55, 49, tzinfo=datetime.UTC)
    assert (second.user_id, second.rating) == ("186", 4.5)


def test_a_type_an_id_and_a_time_may_be_given(write: Write) -> None:
    header = "timestamp,event_type,item_id,user_id,event_id,rating\n"
    path = write(header + "1997-12-04T16:55:49+01:00,add_to_cart,50,42,mine,\n881250949.25,Rate,50,42,,4\n")

    first, second = events_of(path)

    assert (first.event_type, first.event_id, first.rating) == (EventType.ADD_TO_CART, "mine", None)
    assert first.time == datetime.datetime(1997, 12, 4, 15, 55, 49, tzinfo=datetime.UTC)
    assert (second.event_type, second.rating, len(second.event_id)) == (EventType.RATE, 4, 36)
    assert second.time == first.time + datetime.timedelta(seconds=0.25)


@pytest.mark.parametrize(
    "content",
    [
        RATINGS.replace("user_id,item_id", "userId,movieId"),
        RATINGS.replace(",", "\t"),
        RATINGS.replace("\n", "\r\n"),
        RATINGS.replace("\n", "\n\n"),
        "\N{BYTE ORDER MARK}" + RATINGS,
        RATINGS.rstrip("\n"),
        RATINGS.replace("242", '"242"'),
    ],
    ids=["movielens-names", "tabs", "crlf", "blank-lines", "byte-order-mark", "no-last-newline", "quotes"],
)
def test_other_dialects_give_the_same_events(write: Write, content: str) -> None:
    expected = events_of(write(RATINGS))

    assert events_of(write(content)) == expected


def test_columns_name_what_a_file_without_a_header_has(write: Write) -> None:
    expected = events_of(write(RATINGS))
    header, _, rows = RATINGS.partition("\n")

    assert events_of(write(rows.replace(",", "\t")), columns=header.split(",")) == expected


def test_rows_know_their_lines_even_after_a_quoted_line_break(write: Write) -> None:
    path = write('user_id,item_id,rating,timestamp\n1,"2\n3",4,5\n\n6,7,1,9\n')

    assert [row.line for row in EventFile(path).rows()] == [2, 5]


def test_a_second_reading_gives_the_same_ids(write: Write) -> None:
    assert ids_of(write(RATINGS)) == ids_of(write(RATINGS))


def test_a_file_that_has_grown_keeps_its_ids(write: Write) -> None:
    before = ids_of(write(RATINGS))

    assert ids_of(write(RATINGS + "196,242,3,881250950\n"))[:2] == before


def test_ids_follow_the_content_not_its_spelling(write: Write) -> None:
    before = ids_of(write(RATINGS))

    assert ids_of(write(RATINGS.replace(",3,881250949", ",3.0,1997-12-04T15:55:49Z"))) == before


def test_equal_rows_are_events_of_their_own(write: Write) -> None:
    row = "196,242,3,881250949\n"
    once, twice = ids_of(write(RATINGS)), ids_of(write(RATINGS + row + row))

    assert twice[:2] == once
    assert len(set(twice)) == 4


@pytest.mark.parametrize("other", ["197,242,3,881250949", "196,243,3,881250949", "196,242,4,881250949", "196,242,3,0"])
def test_other_content_gives_another_id(write: Write, other: str) -> None:
    before = ids_of(write(RATINGS))

    assert ids_of(write(RATINGS.replace("196,242,3,881250949", other)))[0] != before[0]


def test_moved_commas_give_another_id(write: Write) -> None:
    header = "user_id,item_id,rating,timestamp\n"

    assert ids_of(write(header + '"a,b",c,3,0\n')) != ids_of(write(header + 'a,"b,c",3,0\n'))


def test_check_counts_the_events(write: Write) -> None:
    assert EventFile(write(RATINGS)).check() == 2
    assert EventFile(write(RATINGS.splitlines()[0])).check() == 0


SECONDS = "expected seconds since 1970, such as 881250949, or a time such as 1997-12-04T15:55:49Z"
MILLISECONDS = "expected seconds since 1970; this would be after the year 9999: is it in milliseconds?"
TYPES = "VIEW, CLICK, ADD_TO_CART, PURCHASE, CONSUME, RATE"


@pytest.mark.parametrize(
    ("row", "problems"),
    [
        (",242,VIEW,,0", ["2: user_id: found nothing, expected an id"]),
        ("196,,VIEW,,0", ["2: item_id: found nothing, expected an id"]),
        ("196,242,WATCH,,0", [f"2: event_type: found 'WATCH', expected one of {TYPES}"]),
        ("196,242,RATE,three,0", ["2: rating: found 'three', expected a number, such as 4.5"]),
        ("196,242,RATE,nan,0", ["2: rating: found 'nan', expected a number, such as 4.5"]),
        ("196,242,RATE,,0", ["2: rating: found nothing, expected a number, such as 4.5: a RATE event has one"]),
        ("196,242,VIEW,3,0", ["2: rating: found '3', expected nothing: only a RATE event has one, not VIEW"]),
        ("196,242,VIEW,,", [f"2: timestamp: found nothing, {SECONDS}"]),
        ("196,242,VIEW,,yesterday", [f"2: timestamp: found 'yesterday', {SECONDS}"]),
        ("196,242,VIEW,,-1", [f"2: timestamp: found '-1', {SECONDS}"]),
        ("196,242,VIEW,,2026-01-31T12:00:00", [f"2: timestamp: found '2026-01-31T12:00:00', {SECONDS}"]),
        (
            "196,242,VIEW,,881250949000",
            [f"2: timestamp: found '881250949000', {MILLISECONDS}"],
        ),
        (
            "196,242,VIEW,0",
            ["2: the row: found 4 columns, expected 5: user_id,item_id,event_type,rating,timestamp"],
        ),
        (
            '196,"242,VIEW,,0',
            ["2: the row: found unexpected end of data, expected a well-formed row; a quote inside one is doubled"],
        ),
        (
            ",,WATCH,three,-1",
            [
                "2: user_id: found nothing, expected an id",
                "2: item_id: found nothing, expected an id",
                f"2: event_type: found 'WATCH', expected one of {TYPES}",
                f"2: timestamp: found '-1', {SECONDS}",
                "2: rating: found 'three', expected a number, such as 4.5",
            ],
        ),
    ],
)
def test_a_bad_row_is_named_by_line_and_column(write: Write, row: str, problems: list[str]) -> None:
    assert problems_of(write(f"user_id,item_id,event_type,rating,timestamp\n{row}\n")) == problems


def test_bytes_that_are_not_utf8_are_named_by_their_cell(write: Write) -> None:
    path = write(RATINGS.encode() + b"196,caf\xe9,3,0\n")

    assert problems_of(path) == [r"4: item_id: found 'caf\udce9', expected UTF-8 text"]


def test_a_long_cell_is_cut(write: Write) -> None:
    (problem,) = problems_of(write(RATINGS + f"196,242,{'x' * 5000},0\n"))

    assert len(problem) < 150


def test_all_bad_lines_are_counted_and_twenty_are_shown(write: Write) -> None:
    path = write("user_id,item_id,rating,timestamp\n" + "196,242,three,0\n196,242,3,0\n" * 30)

    with pytest.raises(EventFileError) as caught:
        EventFile(path).check()

    assert caught.value.problem_count == 30
    places = [problem.partition(": rating")[0] for problem in caught.value.problems]
    assert places == [f"{path}:{line}" for line in range(2, 42, 2)]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("user_id,item,rating,timestamp", "unknown column 'item', no column item_id"),
        ("user_id,item_id,timestamp", "no column rating or event_type"),
        ("user_id,item_id,rating,timestamp,rating", "column rating twice"),
        ("\n", "no column user_id, no column item_id, no column timestamp, no column rating or event_type"),
    ],
)
def test_a_bad_header_names_what_is_wrong_with_it(write: Write, header: str, found: str) -> None:
    (problem,) = problems_of(write(header + "\n196,242,3,0\n"))

    assert problem.startswith(
        f"1: the header: found {found}; expected columns such as user_id,item_id,rating,timestamp"
    )


def test_bad_columns_are_not_blamed_on_the_file(write: Write) -> None:
    (problem,) = problems_of(write(RATINGS), columns=["user_id", "item_id", "stars", "timestamp"])

    assert problem.startswith("--columns: found unknown column 'stars', no column rating or event_type")


def test_an_empty_file_is_an_error(write: Write) -> None:
    assert problems_of(write(""))[0].startswith("1: found an empty file, expected a header")


def test_a_missing_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "nowhere.csv") == [" no such file"]
    assert problems_of(tmp_path) == [" not a regular file; it is read twice"]
