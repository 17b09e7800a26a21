"""What the console script calls: `main`, and a word on the extra where a package of it is not installed."""

import sys

__all__ = ["run"]

_OURS = ("tastemaker", "tastemaker_modelserver")


def run() -> None:
    """Runs `main`, which ends the process; with exit status 2 where a package is missing."""
    try:
        from tastemaker_modelserver.main import main

        main()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in _OURS:  # a defect of ours, not of the installation
            raise
        sys.stderr.write(
            f"error: tastemaker-modelserver needs the package {missing}; pip install 'tastemaker[modelserver]'\n"
        )
        sys.exit(2)
