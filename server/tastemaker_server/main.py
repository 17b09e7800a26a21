"""The command `tastemaker-server`."""

import asyncio
import os
import sys
from collections.abc import Sequence

from tastemaker_server.app import serve
from tastemaker_server.arguments import parse_arguments
from tastemaker_server.commands import load_commands
from tastemaker_server.errors import CommandError, SettingsError, StoreUnavailableError
from tastemaker_server.process_log import set_up_log, tell_error
from tastemaker_server.settings_loader import load_logging_settings, load_settings

__all__ = ["main"]

_EXIT_BAD_SETTINGS = 2
_EXIT_CANNOT = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a front or a command, or checks the configuration. Returns the exit status.

    0 is a clean end, 1 a front that cannot start or a command that cannot do its work, 2 bad settings or arguments.
    """
    options = parse_arguments(arguments, load_commands())
    logging_settings = load_logging_settings(options.config, os.environ)
    set_up_log(logging_settings, level=options.log_level)
    try:
        settings = load_settings(options.config, os.environ)
        if options.check_config:
            print(settings.model_dump_json(indent=2))
        elif options.run is not None:
            print(options.run(settings, options))
        else:
            asyncio.run(serve(settings))
    except SettingsError as error:
        for problem in error.problems:
            tell_error(problem, logging_settings)
        return _EXIT_BAD_SETTINGS
    except (CommandError, StoreUnavailableError) as error:
        tell_error(str(error), logging_settings)
        return _EXIT_CANNOT
    return 0


if __name__ == "__main__":
    sys.exit(main())
