"""The command line of `tastemaker-server`: what serves the front, and the subcommands of `commands`."""

import argparse
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from tastemaker_server.commands import Command
from tastemaker_server.settings_loader import ENVIRONMENT_PREFIX

__all__ = ["parse_arguments"]

_LOG_LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR"]


def parse_arguments(arguments: Sequence[str] | None, commands: Sequence[Command]) -> argparse.Namespace:
    """Parses the command line; ends the process with status 2 where it is wrong.

    Returns:
        `config`, `check_config`; `log_level`, None where it is not given; `run`, the command's function, or None to
        serve; what the command takes.
    """
    parser = argparse.ArgumentParser(
        prog="tastemaker-server",
        description="The front of Tastemaker: answers Recommend and Feedback over gRPC. Without a command it serves.",
        epilog=f"Environment variables {ENVIRONMENT_PREFIX}SECTION__KEY override the file.",
    )
    parser.set_defaults(run=None, config=None, log_level=None)
    _add_shared(parser)
    parser.add_argument("--check-config", action="store_true", help="check the settings, print them, and end")
    parser.add_argument("--version", action="version", version=f"%(prog)s {metadata.version('tastemaker')}")
    subparsers = parser.add_subparsers(metavar="COMMAND", title="commands")
    for command in commands:
        added = subparsers.add_parser(command.name, help=command.summary, description=command.summary)
        _add_shared(added)
        command.add_arguments(added)
        added.set_defaults(run=command.run)
    return parser.parse_args(arguments)


def _add_shared(parser: argparse.ArgumentParser) -> None:
    # Without defaults of their own: a command's would replace what was given before the command's name.
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="settings, a TOML file (default: built-in settings)",
    )
    parser.add_argument(
        "--log-level", default=argparse.SUPPRESS, choices=_LOG_LEVELS, help="default: the setting logging.level"
    )
