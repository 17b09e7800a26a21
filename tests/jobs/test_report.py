"""The report: one file that needs no other, with everything that was judged in it."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tastemaker_jobs.data.vocabulary import Vocabulary
from tastemaker_jobs.errors import DataError
from tastemaker_jobs.evaluation import protocol
from tastemaker_jobs.evaluation.assessment import Assessment, assess
from tastemaker_jobs.evaluation.protocol import PROTOCOLS, Questions
from tastemaker_jobs.publishing.training_records import Epoch
from tastemaker_jobs.reporting.catalogue import Catalogue
from tastemaker_jobs.reporting.charts import curves_of, nice_ticks
from tastemaker_jobs.reporting.examples import example_users
from tastemaker_jobs.reporting.render import render_report
from tastemaker_jobs.testing.popular import popular_lists
from tastemaker_jobs.testing.synthetic import synthetic_ratings

EPOCHS = [Epoch(number, 5.0 / number, 0.1 * (number % 4), 0.5) for number in range(1, 6)]
VOID = {"meta", "img", "line", "circle", "polyline", "br", "link"}


class Page(HTMLParser):
    """Reads a page, and fails if a tag is closed that is not open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.text: list[str] = []
        self.sources: list[str] = []
        self.targets: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.ids.add(named.get("id") or "")
        self.sources += [named[name] or "" for name in ("src", "srcset", "data") if name in named]
        self.targets += [named["href"] or ""] if "href" in named else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def assessed(name: str = "leave-last-out", **models: str) -> tuple[Assessment, dict[str, dict[str, list[str]]]]:
    """Popularity, and it again under other names."""
    judged_by = PROTOCOLS[name]
    split = judged_by.split(synthetic_ratings(seed=5, users=60))
    questions = protocol.test_questions(split)
    popular = popular_lists(questions, Vocabulary.of(split.train.item_id).item_ids, k=judged_by.longest_list)
    lists = {"popularity": popular} | dict.fromkeys(models.values(), popular)
    how = {"split": split, "protocol": judged_by, "dataset": "films", "seed": 0}
    return assess(lists, questions=questions, **how), lists


@pytest.mark.parametrize("name", PROTOCOLS)
def test_report_of_every_protocol_is_whole(name):
    assessment, lists = assessed(name, one="rnn/1", other="cnn/2")
    html = render_report(assessment, lists, epochs={"rnn/1": EPOCHS, "cnn/2": []}, catalogue=Catalogue())
    page = Page(html)
    text = " ".join(page.text)
    for expected in (
        "rnn/1",
        "cnn/2",
        "Learning curves",
        "Segments",
        "tail items",
        "novelty",
        assessment.protocol.shows,
    ):
        assert expected in text
    assert {target.removeprefix("#") for target in page.targets} <= page.ids
    assert "nan" not in re.findall(r"[a-z]+", " ".join(re.findall(r'(?:points|[xy][12]?|c[xy])="([^"]*)"', html)))
    assert html == render_report(assessment, lists, epochs={"rnn/1": EPOCHS, "cnn/2": []}, catalogue=Catalogue())


def test_report_needs_no_other_file(tmp_path):
    (tmp_path / "film-1.jpg").write_bytes(b"a picture")
    assessment, lists = assessed()
    page_text = render_report(assessment, lists, epochs={}, catalogue=Catalogue({}, tmp_path))
    page = Page(page_text)
    assert page.sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert all(target.startswith("#") for target in page.targets)
    assert not re.search(r"@import|url\(|<script|<link", page_text)


def test_one_baseline_alone_is_a_report_too():
    assessment, lists = assessed()
    Page(render_report(assessment, lists, epochs={}, catalogue=Catalogue()))


def test_titles_and_names_cannot_break_the_page():
    hostile = "<script>alert('x')</script>"
    assessment, lists = assessed(one=hostile)
    titles = {f"film-{number}": f'{hostile} & "more"' for number in range(30)}
    html = render_report(assessment, lists, epochs={hostile: EPOCHS}, catalogue=Catalogue(titles))
    assert "<script" not in html
    Page(html)


def test_example_users_are_chosen_without_looking_at_the_lists():
    histories = {f"user-{number}": ["x"] * number for number in range(30)}
    questions = Questions(histories, {user: {"a", "b"} for user in histories})
    good, bad = ({"model": dict.fromkeys(histories, items)} for items in (["a", "b"], ["x"]))
    chosen = example_users(questions, good)
    assert [example.user for example in chosen] == [example.user for example in example_users(questions, bad)]
    assert [example.known // 10 for example in chosen] == [0, 0, 1, 1, 2, 2]
    assert example_users(questions, {"model": {}})[0].lists == {"model": ()}


def test_catalogue_reads_titles_and_years(tmp_path):
    (tmp_path / "items.csv").write_text('item_id,title,year\n1,"Toy, the",1995\n2,Unknown,\n')
    catalogue = Catalogue.read(tmp_path / "items.csv", tmp_path)
    assert [catalogue.title(item) for item in ("1", "2", "3")] == ["Toy, the (1995)", "Unknown", "3"]
    assert catalogue.poster("1") is None
    assert catalogue.poster("../1") is None


@pytest.mark.parametrize(("content", "says"), [("item_id,name\n1,x\n", "no column title"), (None, "cannot be read")])
def test_catalogue_that_cannot_be_read_is_named(tmp_path, content, says):
    path: Path = tmp_path / "items.csv"
    if content:
        path.write_text(content)
    with pytest.raises(DataError, match=says):
        Catalogue.read(path, None)


def test_best_epoch_is_the_one_of_the_highest_validation_score():
    loss, valid = curves_of(EPOCHS)
    assert loss.best is not None
    assert valid.best is not None
    assert f"{valid.best[0]},{valid.best[1]}" == valid.points.split()[2]
    assert loss.best[0] == valid.best[0]
    assert [curve.title for curve in curves_of([Epoch(1, 5.0, None, 1.0)])] == ["training loss"]
    assert curves_of([]) == []


@pytest.mark.parametrize(("low", "high"), [(0, 0), (1, 1), (0, 1e-9), (0.0301, 0.0302), (3, 4000), (-2, 5)])
def test_ticks_reach_around_the_values(low, high):
    ticks = nice_ticks(low, high)
    assert 3 <= len(ticks) <= 8
    assert ticks == sorted(set(ticks))
    assert ticks[0] <= low
    assert ticks[-1] >= high
