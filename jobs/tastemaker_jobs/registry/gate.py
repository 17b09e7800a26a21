"""The gate: no version goes live that loses to a baseline on its own protocol, is unjudged, or breaks the contract."""

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tastemaker.artefacts.v1 import manifest_pb2
from tastemaker_jobs.errors import ContractError
from tastemaker_jobs.models.contract import CONTRACT_VERSION

__all__ = ["check_contract", "objections"]

_CHECK_SECONDS = 600


def check_contract(folder: Path, manifest: manifest_pb2.ModelManifest) -> None:
    """Load a version in a process of its own and hold it against the contract.

    Args:
        folder: Of the version.
        manifest: Its manifest.

    Raises:
        ContractError: Lists what is wrong.
    """
    if manifest.contract_version != CONTRACT_VERSION:
        raise ContractError(
            f"{folder} keeps version {manifest.contract_version} of the contract, and this is version"
            f" {CONTRACT_VERSION}. Train it anew with this code."
        )
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tastemaker_jobs.registry.contract_check", str(folder)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=_CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ContractError(f"{folder} did not load and answer within {_CHECK_SECONDS} s.") from error
    found = done.stdout.splitlines()
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        found.append(f"loading it ended the process with status {done.returncode}: {last[0]}")
    if found:
        lines = "\n".join(f"  {line}" for line in found)
        raise ContractError(f"{folder} breaks the contract of the signatures; nothing was published.\n{lines}")


def objections(manifest: manifest_pb2.ModelManifest) -> Iterator[str]:
    """Why a version should not go live.

    A model loses where the first metric of its protocol is below a baseline's. Intervals are not looked at: a tie
    within the noise is no reason to serve the more complicated of two.

    Args:
        manifest: Of the version.

    Yields:
        A reason each.
    """
    if not manifest.metrics:
        yield "its manifest has no metrics: it was never judged"
        return
    if not manifest.baselines:
        yield "its manifest has no baselines to compare with"
    main = manifest.metrics[0]
    if math.isnan(main.value):
        yield f"its {main.name} is NaN: there was no test item"
        return
    for baseline in manifest.baselines:
        theirs = [m for m in baseline.metrics if (m.name, m.protocol) == (main.name, main.protocol)]
        if not theirs:
            yield f"the baseline {baseline.name} has no {main.name} on {main.protocol}"
        elif main.value < theirs[0].value:
            yield (
                f"it loses to {baseline.name} on {main.protocol}: {main.name} {main.value:.4f}"
                f" [{main.lower:.4f}, {main.upper:.4f}] against {theirs[0].value:.4f}"
                f" [{theirs[0].lower:.4f}, {theirs[0].upper:.4f}]"
            )
