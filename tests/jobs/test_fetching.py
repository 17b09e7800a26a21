"""Getting MovieLens 100K: from a folder, GroupLens' zip or RecBole's wheel, all to the same bytes."""

import http.server
import io
import shutil
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tastemaker_jobs.commands.fetch import obtain
from tastemaker_jobs.data.fetching import Dataset, fetch_ml_100k
from tastemaker_jobs.data.movielens import RATINGS_SHA256, from_grouplens, from_recbole
from tastemaker_jobs.data.ratings import read_ratings, sha256_of
from tastemaker_jobs.data.sources import (
    FolderSource,
    GroupLensSource,
    RecBoleWheelSource,
    SourceUnavailableError,
    _pip,
)
from tastemaker_jobs.errors import ChecksumError, DataError, DatasetUnavailableError

GENRES = (
    "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|Fantasy|Film-Noir|Horror|Musical"
    "|Mystery|Romance|Sci-Fi|Thriller|War|Western"
)


@pytest.fixture
def grouplens_zip(ml_100k: Dataset) -> bytes:
    """The zip as GroupLens lays it out, made from the canonical files: no network here has the original."""
    import csv

    with (ml_100k.folder / "items.csv").open(newline="") as file:
        films = list(csv.DictReader(file))
    lines = []
    for film in films:
        title = f"{film['title']} ({film['year']})" if film["year"] else film["title"]
        flags = ["1" if genre in film["genres"].split("|") else "0" for genre in GENRES.split("|")]
        lines.append("|".join([film["item_id"], title, "01-Jan-1995", "", "address", *flags]))
    ratings = "\n".join(ml_100k.ratings_path.read_text().replace(",", "\t").splitlines()[1:]) + "\n"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("ml-100k/u.data", ratings)
        files.writestr("ml-100k/u.item", "\n".join(lines).encode("latin-1"))
    return archive.getvalue()


@pytest.fixture
def recbole_wheel(ml_100k: Dataset) -> bytes:
    """A wheel with the members that RecBole's has."""
    import csv

    folder = "recbole/dataset_example/ml-100k"
    with (ml_100k.folder / "items.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    for row in rows:
        row[3] = row[3].replace("|", " ")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        body = ml_100k.ratings_path.read_text().replace(",", "\t").split("\n", 1)[1]
        files.writestr(
            f"{folder}/ml-100k.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + body
        )
        header = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        files.writestr(f"{folder}/ml-100k.item", header + "\n".join("\t".join(row) for row in rows))
    return archive.getvalue()


@pytest.fixture
def serve() -> Iterator[object]:
    """Serves bytes under any path on 127.0.0.1; gives the address."""
    servers = []

    def serve(body: bytes, status: int = 200) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/ml-100k.zip"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def files_of(dataset: Dataset) -> tuple[bytes, bytes]:
    return dataset.ratings_path.read_bytes(), (dataset.folder / "items.csv").read_bytes()


def test_all_sources_give_the_same_bytes(ml_100k, grouplens_zip, recbole_wheel):
    expected = files_of(ml_100k)
    for data in (from_grouplens(grouplens_zip), from_recbole(recbole_wheel)):
        assert (data.ratings_csv, data.items_csv) == expected


def test_result_is_readable_and_checked(ml_100k):
    assert sha256_of(ml_100k.ratings_path) == RATINGS_SHA256
    assert len(read_ratings(ml_100k.ratings_path)) == 100_000


def test_download_lands_in_the_cache_and_is_not_repeated(ml_100k, grouplens_zip, serve, tmp_path):
    source = GroupLensSource(url=serve(grouplens_zip))
    data = fetch_ml_100k(named=None, others=[source], cache_root=tmp_path, note=lambda _: None)
    assert files_of(data) == files_of(ml_100k)
    assert data.source == "GroupLens"
    again = fetch_ml_100k(named=None, others=[], cache_root=tmp_path, note=lambda _: None)
    assert again == data
    assert [path.name for path in tmp_path.iterdir()] == [data.folder.name]


def test_damaged_cache_is_replaced(grouplens_zip, serve, tmp_path):
    sources = [GroupLensSource(url=serve(grouplens_zip))]
    data = fetch_ml_100k(named=None, others=sources, cache_root=tmp_path, note=lambda _: None)
    data.ratings_path.write_text("user_id,item_id,rating,timestamp\n")
    with pytest.raises(DatasetUnavailableError):
        fetch_ml_100k(named=None, others=[], cache_root=tmp_path, note=lambda _: None)
    fetch_ml_100k(named=None, others=sources, cache_root=tmp_path, note=lambda _: None)
    assert sha256_of(data.ratings_path) == RATINGS_SHA256


def test_next_source_is_asked_and_each_reason_is_told(ml_100k, serve, tmp_path):
    notes: list[str] = []
    others = [
        FolderSource(tmp_path / "nothing"),
        GroupLensSource(url=serve(b"gone", status=404)),
        GroupLensSource(url=serve(b"not a zip")),
        GroupLensSource(url="http://127.0.0.1:9/ml-100k.zip"),
        FolderSource(ml_100k.folder.parent),
    ]
    with pytest.raises(DatasetUnavailableError) as caught:
        fetch_ml_100k(named=None, others=others, cache_root=tmp_path / "cache", note=notes.append)
    for reason in ("No such file", "404", "not a zip file", "refused", "--data-dir"):
        assert reason in str(caught.value)
    assert len(notes) == 10


def test_changed_ratings_are_refused(ml_100k, tmp_path):
    folder = tmp_path / "ml-100k"
    shutil.copytree(ml_100k.folder, folder)
    with (folder / "ratings.csv").open("a") as file:
        file.write("1,1,5,900000000\n")
    with pytest.raises(ChecksumError, match="SHA-256"):
        fetch_ml_100k(named=FolderSource(tmp_path), others=[], cache_root=tmp_path / "c", note=lambda _: None)
    assert not (tmp_path / "c").exists()


def test_named_folder_without_data_is_an_error_even_if_the_cache_has_it(ml_100k, cache, tmp_path):
    shutil.copytree(ml_100k.folder, tmp_path / "here" / "ml-100k")
    obtain(data_dir=tmp_path / "here")
    assert cache.is_dir()
    with pytest.raises(DatasetUnavailableError, match=r"must hold ml-100k/ratings\.csv"):
        obtain(data_dir=tmp_path / "elsewhere")


def test_environment_names_a_folder_too(ml_100k, cache, tmp_path, monkeypatch):
    shutil.copytree(ml_100k.folder, tmp_path / "here" / "ml-100k")
    monkeypatch.setenv("TASTEMAKER_DATA_DIR", str(tmp_path / "here"))
    assert str(tmp_path / "here") in obtain(data_dir=None).source


def test_cache_that_cannot_be_written_is_named(ml_100k, tmp_path):
    (tmp_path / "ml-100k").mkdir()
    for name in ("ratings.csv", "items.csv"):
        shutil.copy(ml_100k.folder / name, tmp_path / "ml-100k" / name)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"):
        fetch_ml_100k(named=FolderSource(tmp_path), others=[], cache_root=tmp_path / "file", note=lambda _: None)


@pytest.mark.slow
def test_wheel_comes_through_the_ordinary_client(ml_100k):
    try:
        data = RecBoleWheelSource(timeout_seconds=60).read()
    except SourceUnavailableError as error:
        pytest.skip(f"no package index here: {error}")
    assert (data.ratings_csv, data.items_csv) == files_of(ml_100k)


def test_pip_is_found_where_the_environment_has_none():
    assert Path(_pip()[0]).exists()


def test_only_http_addresses_are_opened(tmp_path):
    with pytest.raises(ValueError, match="http"):
        GroupLensSource(url=f"file://{tmp_path}")
