"""The list of items and their images."""

import pytest

from tastemaker_jobs.data.item_features import read_item_features
from tastemaker_jobs.errors import DataError, ItemsFormatError

LIST = 'item_id,title,year,genres\n1,"Toy Story",1995,Animation|Comedy\nx 2,,,\n'


def test_titles_attributes_and_images_are_read_and_may_be_missing(tmp_path):
    (tmp_path / "items.csv").write_text(LIST)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").write_bytes(b"")
    features = read_item_features(tmp_path / "items.csv", tmp_path / "images")
    assert features.item_ids == ("1", "x 2")
    assert features.titles == ("Toy Story", "")
    assert features.attributes == (("year=1995", "genres=Animation", "genres=Comedy"), ())
    assert features.images == (tmp_path / "images" / "1.png", None)


def test_order_follows_a_vocabulary_and_unlisted_items_have_nothing(tmp_path):
    (tmp_path / "items.csv").write_text(LIST)
    features = read_item_features(tmp_path / "items.csv").in_order(["new", "1"])
    assert (features.titles, features.attributes[0], features.images) == (("", "Toy Story"), (), (None, None))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("title\nToy Story\n", "line 1, column item_id: found no such column"),
        ("item_id,item_id\n1,1\n", "line 1, column item_id: found 2 such column"),
        ("item_id,title\n1,a,b\n", "line 2, whole line"),
        ("item_id,title\n1\n", "line 2, whole line"),
        ("item_id,title\n,a\n", "item_id not empty"),
        ("item_id,title\n1,a\n1,b\n", "line 3, column item_id: found '1', expected each item once"),
        ("item_id,title\n1,\xff\n", "UTF-8"),
        ('item_id,title\n1,"a', "broken CSV"),
    ],
)
def test_what_breaks_the_format_is_named(content, says, tmp_path):
    path = tmp_path / "items.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ItemsFormatError) as caught:
        read_item_features(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_item_features(tmp_path / "items.csv")
    (tmp_path / "items.csv").write_text(LIST)
    with pytest.raises(DataError, match="images is not a folder"):
        read_item_features(tmp_path / "items.csv", tmp_path / "images")
