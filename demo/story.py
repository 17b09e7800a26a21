"""What the demo does, step by step. Each claim that it prints was checked; the first that fails ends the demo."""

import csv
import shutil
import subprocess
import sys
import time
from pathlib import Path

from demo import console
from demo.processes import Services
from tastemaker_client import Client, EventType, Page, Tier

__all__ = ["Story", "StoryError"]

_BIN = Path(sys.executable).parent
_USER = "42"
_DEADLINE_SECONDS = 0.5
_PAGE = 10


class StoryError(Exception):
    """Something that the demo promises did not hold."""


class Story:
    """The loop: data, training, serving, recommending, feedback, failure."""

    def __init__(self, *, services: Services, data_dir: Path | None, epochs: str | None, root: Path) -> None:
        """Wires the story.

        Args:
            services: The processes.
            data_dir: Where data lies; None to look for it.
            epochs: How many epochs to train at most; None for the jobs' own choice.
            root: The folder that shown paths are relative to.
        """
        self._services = services
        self._data_dir = data_dir
        self._epochs = epochs
        self._root = root
        self._titles: dict[str, str] = {}
        self._items_csv = Path()

    def run(self) -> None:
        """Tells the whole story. Everything it writes is under `services.folder` and `models/`.

        Raises:
            StoryError: A promise did not hold, or a command failed.
        """
        folder = self._services.folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        ratings_csv = self._get_data()
        self._train()
        self._serve(ratings_csv)
        with Client(self._services.address) as client:
            self._recommend_and_learn(client)
            self._survive(client)

    def show_what_to_try(self) -> None:
        """The commands that work now."""
        console.step(6, "It goes on running. Try:", "each in this folder, in any order")
        items = self._items_csv
        command = _shown(_BIN / "tastemaker", self._root)
        console.say(f"export TASTEMAKER_ITEMS={_shown(items, self._root)}   # shows titles")
        console.say(f"{command} recommend --user {_USER} --surface home")
        console.say(f"{command} recommend --user {_USER} --surface discover")
        console.say(f"{command} feedback --user {_USER} --item 50 --type consume")
        console.say(f"{command} recommend --user somebody-new --surface home")
        console.say(f"{command} health")
        console.say(f"logs: {_shown(self._services.folder, self._root)}/*.log; end it with `make down`")

    def _get_data(self) -> Path:
        console.step(1, "Data: MovieLens 100K", "who rated which film, and when: the events that models learn from")
        data = ["--data-dir", str(self._data_dir)] if self._data_dir is not None else []
        folder = Path(_run("tastemaker-jobs", "fetch", "ml-100k", *data, capture=True).strip().splitlines()[-1])
        self._items_csv = folder / "items.csv"
        with self._items_csv.open(encoding="utf-8", newline="") as file:
            self._titles = {row["item_id"]: f"{row['title']} ({row['year']})" for row in csv.DictReader(file)}
        self._data_dir = folder.parent if folder.name == "ml-100k" else self._data_dir
        return folder / "ratings.csv"

    def _train(self) -> None:
        explanation = (
            "a GRU over each user's sequence and an autoencoder over each user's set, judged on films held out"
        )
        console.step(2, "Training: two models as Ray jobs", explanation)
        models_dir = str(self._services.models_dir)
        data = ["--data-dir", str(self._data_dir)] if self._data_dir is not None else []
        epochs = ["--epochs", self._epochs] if self._epochs is not None else []
        _run("tastemaker-jobs", "train", "rnn", "autoencoder", "--models-dir", models_dir, *data, *epochs)

    def _serve(self, ratings_csv: Path) -> None:
        console.step(3, "Serving: model server and front", "two processes; the front needs neither TensorFlow nor Ray")
        started = time.monotonic()
        self._services.start_modelserver()
        self._services.start_front()
        self._services.wait_until_serving()
        console.say(f"both SERVING after {time.monotonic() - started:.1f} s, the front on {self._services.address}")
        console.say("the front learns what users did so far, by 100,000 Feedback events (each on disk before its OK):")
        _run("tastemaker", "import-events", str(ratings_csv), "--address", self._services.address)

    def _recommend_and_learn(self, client: Client) -> None:
        console.step(
            4, f"Recommend for user {_USER}, feed back, recommend again", "a live model ranks what is new to them"
        )
        before = self._ask(client, _USER)
        _check(before.tier is Tier.LIVE_MODEL, "a known user's page comes from the live model", before)
        watched = [item.item_id for item in before.items[:3]]
        client.feedback([before.event(item_id, EventType.CONSUME) for item_id in watched])
        console.say(f"user {_USER} watches the first three; the same question again:")
        after = self._ask(client, _USER)
        shown = {item.item_id for item in after.items}
        _check(not shown.intersection(watched), "watched films are gone", after)
        rest = [item.item_id for item in before.items[3:]]
        moved = [item.item_id for item in after.items] != [*rest, *[item.item_id for item in after.items[len(rest) :]]]
        _check(moved, "the list has moved: it is not the old one with three rows cut out", after)
        console.say("✓ the three are gone, and the rest is ranked anew: the model saw what was watched")
        console.say("an unknown user asks:")
        unknown = self._ask(client, "somebody-new")
        _check(unknown.tier is Tier.POPULAR, "an unknown user's page comes from POPULAR", unknown)

    def _survive(self, client: Client) -> None:
        console.step(
            5, "Kill the model server (kill -9)", f"the same user asks again, with the same {_DEADLINE_SECONDS} s"
        )
        self._services.kill_modelserver()
        page = self._ask(client, _USER)
        _check(page.tier is not Tier.LIVE_MODEL, "without its model server a page comes from another tier", page)
        console.say("✓ a full page all the same, from another tier, inside the deadline")

    def _ask(self, client: Client, user_id: str) -> Page:
        started = time.monotonic()
        page = client.recommend(user_id, "home", max_results=_PAGE, timeout_seconds=_DEADLINE_SECONDS)
        console.show_page(self._titles, page, milliseconds=(time.monotonic() - started) * 1000)
        _check(len(page.items) == _PAGE, f"a page has {_PAGE} films", page)
        return page


def _check(holds: bool, promise: str, page: Page) -> None:
    if not holds:
        raise StoryError(f"this did not hold: {promise}; the page was {page}")


def _run(command: str, *arguments: str, capture: bool = False) -> str:
    """Runs one of the project's commands; what it prints is shown, or returned with `capture`."""
    console.say(f"$ {command} {' '.join(arguments)}")
    run = subprocess.run(
        [_BIN / command, *arguments], check=False, text=True, stdout=subprocess.PIPE if capture else None
    )
    if run.returncode != 0:
        raise StoryError(f"{command} ended with status {run.returncode}; its message is above")
    return run.stdout or ""


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
