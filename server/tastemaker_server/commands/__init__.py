"""The subcommands of `tastemaker-server`, one file each; without one of them it serves.

A command is a file with a `Command`, listed here. `arguments` puts them into the parser, `main` runs them.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from tastemaker_server.settings import Settings

__all__ = ["Command", "load_commands"]


@dataclass(frozen=True)
class Command:
    """A subcommand."""

    name: str
    """As it is typed."""
    summary: str
    """One line for the list of commands."""
    add_arguments: Callable[[argparse.ArgumentParser], None]
    """Adds what it takes beside `--config`."""
    run: Callable[[Settings, argparse.Namespace], str]
    """Does it, and returns the line that says what was done; raises the errors that `main` knows."""


def load_commands() -> list[Command]:
    """All commands, in the order in which help lists them."""
    from tastemaker_server.commands.copy_events import COPY_EVENTS
    from tastemaker_server.commands.export_events import EXPORT_EVENTS
    from tastemaker_server.commands.lists import LISTS, PUBLISH_LISTS, ROLLBACK_LISTS

    return [EXPORT_EVENTS, COPY_EVENTS, PUBLISH_LISTS, ROLLBACK_LISTS, LISTS]
