"""The one module that reads the process's environment, and that sets it for the libraries which read it at import."""

import os
from pathlib import Path

import platformdirs

__all__ = [
    "cache_root",
    "data_dir",
    "keep_memory",
    "keep_searches",
    "limit_threads",
    "log_format",
    "log_level",
    "mlflow_uri",
    "of_worker",
    "quiet_libraries",
    "ray_address",
]

_DEFAULT_DATA_DIR = Path("../shared/data")

# TensorFlow's allocator of GPUs for the CPU too, without its limit of 64 GiB. With malloc, a step of a GRU gives memory
# back to the system and takes it anew, page by page: thousands of page faults, and a fifth of its time.
_KEPT_MEMORY = {"TF_CPU_ALLOCATOR_USE_BFC": "true", "TF_CPU_BFC_MEM_LIMIT_IN_MB": str(2**24)}


def data_dir() -> tuple[Path | None, Path | None]:
    """Where data sets may lie: the folder that TASTEMAKER_DATA_DIR names, and the default one if it exists."""
    named = os.environ.get("TASTEMAKER_DATA_DIR")
    checkout = Path(__file__).resolve().parents[2]  # jobs/tastemaker_jobs/environment.py in a checkout
    defaults = (folder for folder in (_DEFAULT_DATA_DIR, checkout / _DEFAULT_DATA_DIR) if folder.is_dir())
    return (Path(named).expanduser() if named else None), next(defaults, None)


def cache_root() -> Path:
    """The user's cache folder for Tastemaker; XDG_CACHE_HOME moves it."""
    return Path(platformdirs.user_cache_dir("tastemaker", appauthor=False))


def ray_address() -> str | None:
    """The Ray cluster this process was started in, as `ray job submit` sets it; None outside of one."""
    return os.environ.get("RAY_ADDRESS") or None


def mlflow_uri() -> str | None:
    """The MLflow server, or folder, that runs are to be tracked in; None where none is named."""
    return os.environ.get("MLFLOW_TRACKING_URI") or None


def log_format() -> str:
    """What TASTEMAKER_LOG_FORMAT says, "text" without it."""
    return os.environ.get("TASTEMAKER_LOG_FORMAT") or "text"


def log_level() -> str:
    """What TASTEMAKER_LOG_LEVEL says, "INFO" without it."""
    return os.environ.get("TASTEMAKER_LOG_LEVEL") or "INFO"


def quiet_libraries() -> None:
    """Keep TensorFlow's and Ray's start-up chatter from a user's terminal; what the user has set already, stays."""
    quiet = {
        "TF_CPP_MIN_LOG_LEVEL": "2",  # warnings about CPU features; errors still show
        "TF_ENABLE_ONEDNN_OPTS": "0",  # else a notice, and sums that differ between machines; see `of_worker`
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",  # else Ray Tune draws tables on stdout, whatever its verbosity
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a FutureWarning at every worker
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else Ray copies the working tree to its workers under `uv run`
    }
    if not Path("/dev/nvidiactl").exists():  # without a GPU, CUDA would be looked for all the same, and complain
        quiet["CUDA_VISIBLE_DEVICES"] = "-1"
    for name, value in quiet.items():
        os.environ.setdefault(name, value)


def keep_searches() -> None:
    """Have Ray Tune, which must not run yet, note each second how far a search is, and leave Ctrl-C to this process.

    By itself it does so every ten seconds at best, so that what ended meanwhile would be run again; and at Ctrl-C it
    would end as if the search had come to its end.
    """
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")


def keep_memory() -> None:
    """Have TensorFlow, which must not have started yet, keep the memory of one step for the next."""
    for name, value in _KEPT_MEMORY.items():
        os.environ.setdefault(name, value)


def limit_threads(cores: int) -> None:
    """Keep TensorFlow, which must not have started yet, to some cores: with more threads, neighbours only wait.

    Ops side by side use cores better than threads inside an op where ops are small, as in a GRU: on two cores an epoch
    takes 1.6 s with one thread in an op, 2.0 s with two. Ray limits OpenMP and BLAS itself.

    Args:
        cores: 1 or more.
    """
    os.environ["TF_NUM_INTEROP_THREADS"] = str(cores)
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(max(1, cores // 2))


def of_worker(*, cores: int, mixed_precision: bool) -> dict[str, str]:
    """What a process is to start with that trains a model together with others.

    Args:
        cores: 1 or more.
        mixed_precision: On a CPU, oneDNN is what multiplies in bfloat16, whatever `quiet_libraries` or the user's own
            environment say.
    """
    threads = {"TF_NUM_INTRAOP_THREADS": str(cores), "TF_NUM_INTEROP_THREADS": "1"}
    memory = {name: os.environ.get(name, value) for name, value in _KEPT_MEMORY.items()}
    return threads | memory | ({"TF_ENABLE_ONEDNN_OPTS": "1"} if mixed_precision else {})
