"""The command `tastemaker-jobs`: exit status, and one line for each error. Arguments are `arguments`' matter.

Exit status: 0 done, 1 an error that is named on stderr, 2 wrong arguments, 130 interrupted. TensorFlow and Ray are
imported only by the command that needs them.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tastemaker_jobs.arguments import check_combination, parser
from tastemaker_jobs.environment import keep_memory, quiet_libraries
from tastemaker_jobs.errors import TastemakerJobsError
from tastemaker_jobs.models import check_model_name
from tastemaker_jobs.process_log import set_up_log, tell_error

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Arguments without the program's name; the process's own by default.

    Returns:
        The exit status.
    """
    arguments_parser = parser()
    arguments = vars(arguments_parser.parse_args(argv))
    check_combination(arguments_parser, arguments)
    command = arguments.pop("command")
    quiet_libraries()
    keep_memory()
    try:
        set_up_log()
        for name in arguments.get("models", ()):
            if command != "evaluate" or "/" not in name:  # `evaluate` takes paths as well
                check_model_name(name)
        _COMMANDS[command](arguments)
    except TastemakerJobsError as error:
        tell_error(str(error))
        return 1
    except KeyboardInterrupt:
        tell_error("interrupted; nothing half-written was published", prefix="")
        return 130
    return 0


def _fetch(arguments: dict[str, Any]) -> None:
    from tastemaker_jobs.commands.fetch import fetch

    fetch(data_dir=arguments["data_dir"])


def _train(arguments: dict[str, Any]) -> None:
    from tastemaker_jobs.commands.train import train

    models, out = arguments["models"], arguments["out"]
    models_dir: Path = arguments["models_dir"]
    train(
        models=models,
        data=_files(arguments),
        model_dirs=[out.resolve()] if out else [models_dir.resolve() / name for name in models],
        seed=arguments["seed"],
        settings=_settings(arguments),
        use_ray=arguments["use_ray"],
        address=arguments["address"],
        workers=_workers(arguments),
        tensorboard=arguments["tensorboard"],
        metrics_address=arguments["metrics_address"],
    )


def _evaluate(arguments: dict[str, Any]) -> None:
    from tastemaker_jobs.commands.evaluate import evaluate
    from tastemaker_jobs.publishing.versions import version_folder

    folders = [version_folder(name, models_dir=arguments["models_dir"]) for name in arguments["models"]]
    folders += [version_folder(f"{path.absolute()}", models_dir=path) for path in arguments["model_dir"]]
    evaluate(
        folders=folders,
        data=_files(arguments),
        protocol=arguments["protocol"] or _DEFAULT_PROTOCOL,
        test=arguments["test"],
        fold_in=arguments["fold_in"],
        seed=arguments["seed"],
        out=arguments["out"],
        report=arguments["report"],
    )


def _recommend(arguments: dict[str, Any]) -> None:
    from tastemaker_jobs.commands.recommend import recommend

    recommend(**arguments)


def _crossval(arguments: dict[str, Any]) -> None:
    from tastemaker_jobs.commands.crossval import crossval

    crossval(
        model=arguments["models"][0],
        data=_files({**arguments, "ratings": arguments["ratings"] or arguments["train"], "train": None}),
        folds=arguments["folds"],
        seed=arguments["seed"],
        settings=_settings(arguments),
        out=arguments["out"],
        use_ray=arguments["use_ray"],
        address=arguments["address"],
        workers=_workers(arguments),
        metrics_address=arguments["metrics_address"],
    )


def _tune(arguments: dict[str, Any]) -> None:
    from tastemaker_jobs.commands.tune import tune

    tune(
        model=arguments["models"][0],
        data=_files(arguments),
        trials=arguments["trials"],
        seed=arguments["seed"],
        settings=_settings(arguments),
        out=arguments["out"],
        address=arguments["address"],
    )


def _precompute(arguments: dict[str, Any]) -> None:
    from tastemaker_jobs.commands.precompute import precompute

    precompute(**arguments)


def _publish(arguments: dict[str, Any]) -> None:
    from tastemaker_jobs.commands.registry import publish_version

    publish_version(**arguments)


def _move_label(arguments: dict[str, Any]) -> None:
    from tastemaker_jobs.commands.registry import move_label

    move_label(**{"version": None, **arguments})


def _models(arguments: dict[str, Any]) -> None:
    from tastemaker_jobs.commands.registry import list_models, show_model

    (list_models if arguments.pop("view") == "list" else show_model)(**arguments)


_COMMANDS = {
    "crossval": _crossval,
    "evaluate": _evaluate,
    "fetch": _fetch,
    "models": _models,
    "precompute": _precompute,
    "promote": _move_label,
    "publish": _publish,
    "recommend": _recommend,
    "rollback": _move_label,
    "train": _train,
    "tune": _tune,
}
_DEFAULT_PROTOCOL = "leave-last-out"


def _workers(arguments: dict[str, Any]) -> Any:
    if arguments["workers"] is None:
        return None
    from tastemaker_jobs.training.request import Workers

    names = ("storage", "gpu", "cores", "checkpoint_every", "mixed_precision", "xla")
    run_id = arguments["run_id"] or time.strftime("%Y%m%d-%H%M%S")
    each = arguments["gpus_per_worker"]  # a process has one GPU
    return Workers(
        arguments["workers"] * each, run_id=run_id, processes_each=each, **{name: arguments[name] for name in names}
    )


def _files(arguments: dict[str, Any]) -> Any:
    from tastemaker_jobs.commands.fetch import data_files

    names = ("ratings", "train", "data_dir", "items", "images")
    return data_files(
        **{name: arguments[name] for name in names},
        valid=arguments.get("valid"),
        protocol=arguments["protocol"] or _DEFAULT_PROTOCOL,
    )


def _settings(arguments: dict[str, Any]) -> dict[str, Any]:
    from tastemaker_jobs.training.settings import read_settings

    settings = read_settings(arguments["config"], arguments["set"])
    return settings if arguments["epochs"] is None else {**settings, "epochs": arguments["epochs"]}


if __name__ == "__main__":
    sys.exit(main())
