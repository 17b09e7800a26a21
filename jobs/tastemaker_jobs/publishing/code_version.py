"""Which code made something: the package's version and, where it runs from a checkout, the commit."""

import subprocess
from importlib.metadata import version
from pathlib import Path

__all__ = ["code_version"]

_CHECKOUT = Path(__file__).resolve().parents[3]  # jobs/tastemaker_jobs/publishing/code_version.py in a checkout
_GIT_SECONDS = 10.0


def code_version(checkout: Path = _CHECKOUT) -> str:
    """Such as "0.1.0", "0.1.0+1f2e3d4c5b6a", or "0.1.0+1f2e3d4c5b6a.dirty" if files differ from the commit.

    Args:
        checkout: Its root; what has no .git is none.
    """
    package = version("tastemaker")
    if not (checkout / ".git").exists():
        return package
    command = ["git", "-C", str(checkout), "describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=.dirty"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, or a checkout that git does not trust: then not known
        return package
    return f"{package}+{ran.stdout.strip()}"
