"""The command `tastemaker-server`: serves, or does one of the things that a subcommand names."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tastemaker_server.app import serve
from tastemaker_server.errors import SettingsError, StoreUnavailableError
from tastemaker_server.list_commands import add_list_commands
from tastemaker_server.settings_loader import ENVIRONMENT_PREFIX, load_settings

__all__ = ["main"]

_EXIT_BAD_SETTINGS = 2
_EXIT_CANNOT_START = 1

# What adds subcommands; each sets `run`, a coroutine function of settings and options that returns the exit status.
_COMMANDS = (add_list_commands,)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a front, checks its configuration, or runs a subcommand. Returns the exit status.

    0 is a clean end, 1 a front that cannot start or something that was refused, 2 bad settings or arguments.
    """
    parser = argparse.ArgumentParser(
        prog="tastemaker-server",
        description="The front of Tastemaker: answers Recommend and Feedback over gRPC.",
        epilog=f"Environment variables {ENVIRONMENT_PREFIX}SECTION__KEY override the file.",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings, a TOML file (default: built-in settings)"
    )
    parser.add_argument("--check-config", action="store_true", help="check the settings, print them, and end")
    parser.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", description="without one: serve")
    for add_commands in _COMMANDS:
        add_commands(commands)
    for command in commands.choices.values():
        # After a command, too; not given there, what stands before it holds.
        command.add_argument("--config", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="settings")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=options.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        settings = load_settings(options.config, os.environ)
        if options.check_config:
            print(settings.model_dump_json(indent=2))
            return 0
        if "run" in options:
            status: int = asyncio.run(options.run(settings, options))
            return status
        asyncio.run(serve(settings))
    except SettingsError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return _EXIT_BAD_SETTINGS
    except StoreUnavailableError as error:
        print(f"error: {error}", file=sys.stderr)
        return _EXIT_CANNOT_START
    return 0


if __name__ == "__main__":
    sys.exit(main())
