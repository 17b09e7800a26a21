"""Reading a ratings file, and saying where it is wrong."""

import pickle
from pathlib import Path

import pytest

from tastemaker_jobs.data.ratings import read_ratings
from tastemaker_jobs.errors import DataError, RatingsFormatError

HEADER = "user_id,item_id,rating,timestamp\n"


@pytest.fixture
def write(tmp_path: Path):
    def write(content: str | bytes) -> Path:
        path = tmp_path / "ratings.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def problems_of(path: Path) -> list[str]:
    with pytest.raises(RatingsFormatError) as caught:
        read_ratings(path)
    assert str(path) in str(caught.value)
    return [str(problem) for problem in caught.value.problems]


def test_columns_may_stand_in_any_order_beside_others(write):
    ratings = read_ratings(write("timestamp,device,item_id,user_id,rating\n12,tv,007,Ann,4.5\n\n13,web,8,Bob,-1\n"))
    assert list(ratings.item_id) == ["007", "8"]
    assert list(ratings.user_id) == ["Ann", "Bob"]
    assert ratings.rating.tolist() == [4.5, -1.0]
    assert ratings.timestamp.tolist() == [12, 13]


def test_ids_stay_as_given(write):
    ratings = read_ratings(write("\ufeff" + HEADER + '" a ","x,""y""",1,0\nü,1.0,1,0\r\n'))
    assert list(ratings.user_id) == [" a ", "ü"]
    assert list(ratings.item_id) == ['x,"y"', "1.0"]


def test_all_bad_places_are_listed_with_line_and_column(write):
    seconds = "whole seconds since 1970-01-01 UTC"
    bad = "a,b,five,10\na,b,3\na,,3,10\na,b,nan,10\na,b,1,1.5\na,b,1,1700000000000\na,b,1,-1\na,b,1,10\n"
    assert problems_of(write(HEADER + bad)) == [
        "line 2, column rating: found 'five', expected a finite number",
        "line 3, whole line: found 3 fields, expected 4, as in the header",
        "line 4, column item_id: found '', expected an id of 1 to 256 bytes without line breaks",
        "line 5, column rating: found 'nan', expected a finite number",
        "line 6, column timestamp: found '1.5', expected whole seconds since 1970-01-01 UTC",
        f"line 7, column timestamp: found '1700000000000', expected {seconds} (this looks like milliseconds or finer)",
        "line 8, column timestamp: found '-1', expected whole seconds since 1970-01-01 UTC",
    ]


def test_several_bad_fields_of_one_line_are_all_listed(write):
    assert len(problems_of(write(HEADER + ",,x,y\n"))) == 4


def test_at_most_twenty_places_are_listed(write):
    path = write(HEADER + "a,b,x,10\n" * 50)
    assert len(problems_of(path)) == 20
    with pytest.raises(RatingsFormatError, match="and possibly more"):
        read_ratings(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "line 1, header: found an empty file"),
        (HEADER, "line 2, whole line: found the end of the file, expected at least one rating"),
        ("user,item_id,rating,timestamp\na,b,1,2\n", "line 1, column user_id: found no such column in 'user,item_id,"),
        ("item_id," + HEADER, "line 1, column item_id: found 2 such column in"),
        (HEADER + 'a,"b,1,2\n', "broken CSV"),
        (HEADER + '"a\nb",c,1,2\n', "column user_id"),
        (HEADER.encode() + b"a,b\xff,1,2\n", "line 2, byte 4: found byte 0xff, expected UTF-8 text"),
        (HEADER + "a,b\0,1,2\n", "column item_id"),
        (HEADER + f"{'u' * 300},b,1,2\n", "column user_id"),
    ],
)
def test_broken_file_is_named(write, content, problem):
    assert problem in problems_of(write(content))[0]


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.csv cannot be read"):
        read_ratings(tmp_path / "nowhere.csv")


def test_format_error_survives_the_way_home_from_a_worker(write):
    with pytest.raises(RatingsFormatError) as caught:
        read_ratings(write(HEADER + "a,b,x,10\n"))
    returned = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  # our own bytes
    assert str(returned) == str(caught.value)
    assert returned.problems == caught.value.problems


def test_parquet_gives_what_csv_gives(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    csv_file = tmp_path / "ratings.csv"
    csv_file.write_text("user_id,item_id,rating,timestamp,event_type\n007,x,4.5,10,view\n8,y,3,11,buy\n")
    columns = {
        "extra": [None, None],
        "event_type": ["view", "buy"],
        "timestamp": pa.array([10_500, 11_900], pa.timestamp("ms")),
        "rating": [4.5, 3.0],
        "item_id": pa.array(["x", "y"]).dictionary_encode(),
        "user_id": ["007", "8"],
    }
    parquet.write_table(pa.table(columns), tmp_path / "ratings.parquet")
    one, other = read_ratings(csv_file), read_ratings(tmp_path / "ratings.parquet")
    for column in ("user_id", "item_id", "rating", "timestamp", "event_type"):
        assert list(getattr(one, column)) == list(getattr(other, column))


def test_parquet_that_breaks_the_format_is_named_by_row_and_column(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "ratings.parquet"
    columns = {"user_id": ["u", None], "item_id": [1, 2], "rating": [1.0, float("nan")], "timestamp": [1, -1]}
    parquet.write_table(pa.table(columns), path)
    with pytest.raises(RatingsFormatError) as caught:
        read_ratings(path)
    places = [(problem.line, problem.column) for problem in caught.value.problems]
    assert places == [(2, "column user_id"), (2, "column rating"), (2, "column timestamp")]
    parquet.write_table(pa.table({"user_id": ["u"]}), path)
    with pytest.raises(RatingsFormatError, match="column item_id: found no such column"):
        read_ratings(path)
    path.write_text("user_id,item_id,rating,timestamp\n")
    with pytest.raises(RatingsFormatError, match="expected a Parquet file"):
        read_ratings(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_ratings(tmp_path / "none.parquet")


def test_ratings_without_types_have_empty_ones(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text("user_id,item_id,rating,timestamp\nu,x,1,1\n")
    assert list(read_ratings(path).event_type) == [""]
