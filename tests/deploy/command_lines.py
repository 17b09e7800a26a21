"""Whether a command line is right, by the parser of the program that it calls."""

import argparse
import contextlib
import io
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import pytest

from tastemaker_client.cli_arguments import make_parser
from tastemaker_jobs import arguments as jobs_arguments
from tastemaker_modelserver.flags import FlagError, parse_flags
from tastemaker_server import main as server

__all__ = ["PROGRAMS", "problem"]


class _ParsedError(Exception):
    """Thrown once arguments are parsed, so that a program's `main` goes no further."""


def problem(program: str, arguments: Sequence[str]) -> str | None:
    """What the program has against its arguments; None if it takes them."""
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(io.StringIO()):
            PROGRAMS[program](list(arguments))
    except SystemExit as end:
        return None if end.code == 0 else stderr.getvalue()
    except FlagError as error:
        return str(error)
    return None


def _client(arguments: list[str]) -> None:
    make_parser({}).parse_args(arguments)


def _jobs(arguments: list[str]) -> None:
    parser = jobs_arguments.parser()
    jobs_arguments.check_combination(parser, vars(parser.parse_args(arguments)))


def _server(arguments: list[str]) -> None:
    """The front has no parser to ask: its `main` is stopped as soon as it has parsed."""
    parse_args: Any = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, *given: Any, **named: Any) -> NoReturn:
        parse_args(self, *given, **named)
        raise _ParsedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        with contextlib.suppress(_ParsedError):
            server.main(arguments)


def _model_server(arguments: list[str]) -> None:
    parse_flags(arguments)


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "tastemaker": _client,
    "tastemaker-jobs": _jobs,
    "tastemaker-modelserver": _model_server,
    "tastemaker-server": _server,
    "tensorflow_model_server": _model_server,
}
"""Those whose arguments are checked; TensorFlow Serving's flags are our model server's."""
