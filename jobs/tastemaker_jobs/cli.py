"""The command `tastemaker-jobs`: arguments, exit status, and one line for each error.

Exit status: 0 done, 1 an error that is named on stderr, 2 wrong arguments, 130 interrupted. TensorFlow and Ray are
imported only by the command that needs them, so help and wrong arguments answer at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tastemaker_jobs.environment import quiet_libraries
from tastemaker_jobs.errors import TastemakerJobsError
from tastemaker_jobs.evaluation.protocol import PROTOCOLS
from tastemaker_jobs.models import MODEL_NAMES, check_model_name

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Arguments without the program's name; the process's own by default.

    Returns:
        The exit status.
    """
    arguments = vars(_parser().parse_args(argv))
    command = arguments.pop("command")
    quiet_libraries()
    try:
        for name in arguments.get("models", ()):
            if command == "train" or "/" not in name:  # `evaluate` takes paths as well
                check_model_name(name)
        _run(command, arguments)
    except TastemakerJobsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing half-written was published", file=sys.stderr)
        return 130
    return 0


def _run(command: str, arguments: dict[str, Any]) -> None:
    if command == "fetch":
        from tastemaker_jobs.commands.fetch import fetch

        arguments.pop("dataset")
        fetch(**arguments)
    elif command == "train":
        from tastemaker_jobs.commands.train import train

        train(**arguments)
    else:
        from tastemaker_jobs.commands.evaluate import evaluate

        evaluate(**arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tastemaker-jobs", description="Get data, train models, judge them, publish them."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="a folder that holds ml-100k/ratings.csv and items.csv; also TASTEMAKER_DATA_DIR. Default: the cache,"
        " ../shared/data where it exists, GroupLens, a PyPI package, in this order",
    )
    models = argparse.ArgumentParser(add_help=False)
    models.add_argument("models", nargs="+", metavar="MODEL", help=f"one or more of {', '.join(MODEL_NAMES)}")
    models.add_argument(
        "--ratings",
        type=Path,
        metavar="FILE",
        help="a CSV file with user_id, item_id, rating, timestamp, in place of MovieLens 100K",
    )
    models.add_argument(
        "--models-dir",
        type=Path,
        default=Path("models"),
        metavar="DIR",
        help="where models are published (default: models)",
    )
    models.add_argument(
        "--protocol",
        choices=sorted(PROTOCOLS),
        default="leave-last-out",
        help="how the ratings are divided into training, validation and test (default: leave-last-out)",
    )
    models.add_argument(
        "--seed", type=_whole(0), default=0, metavar="N", help="one seed gives one result: 0 or more (default: 0)"
    )

    fetch = commands.add_parser("fetch", parents=[data], help="get a data set and print where it lies")
    fetch.add_argument("dataset", choices=["ml-100k"], help="MovieLens 100K: 943 users, 1,682 films, 100,000 ratings")

    train = commands.add_parser(
        "train", parents=[data, models], help="train models and publish them as the newest versions"
    )
    train.add_argument("--epochs", type=_whole(1), metavar="N", help="at most so many passes over the data")
    ray = train.add_mutually_exclusive_group()
    ray.add_argument("--no-ray", action="store_false", dest="use_ray", help="train in this process")
    ray.add_argument(
        "--address",
        metavar="ADDRESS",
        help="a running Ray cluster, whose nodes see the same files under the same paths; default: one started for this"
        " run, or the one that this process is a job of",
    )

    evaluate = commands.add_parser(
        "evaluate",
        parents=[data, models],
        help="judge models beside popularity and each other; MODEL may also be the path of a model's folder or of a"
        " version's",
    )
    evaluate.add_argument("--out", type=Path, metavar="DIR", help="write metrics.json and report.html into this folder")
    evaluate.add_argument("--report", type=Path, metavar="FILE", help="write the report, one HTML file, here")
    evaluate.add_argument(
        "--items", type=Path, metavar="FILE", help="a CSV file with item_id and title, for the report's example users"
    )
    evaluate.add_argument("--images", type=Path, metavar="DIR", help="a folder of <item_id>.jpg, for the same")
    return parser


def _whole(least: int) -> Any:
    """A type for argparse: a whole number from `least` up to what fits 31 bits, seeds of layers included."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value < 2**24:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} to {2**24 - 1}")
        return value

    return number


if __name__ == "__main__":
    sys.exit(main())
