"""What the console script calls: `main`, and a word on the extra where a package of it is not installed."""

import sys

__all__ = ["run"]

_OURS = ("tastemaker", "tastemaker_jobs")


def run() -> int:
    """Runs `main`; returns its exit status, or 2 where a package is missing."""
    try:
        from tastemaker_jobs.cli import main

        return main()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in _OURS:  # a defect of ours, not of the installation
            raise
        sys.stderr.write(f"error: tastemaker-jobs needs the package {missing}; pip install 'tastemaker[jobs]'\n")
        return 2
