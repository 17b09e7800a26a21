"""What a job asks for beside what a cluster has: arithmetic over the nodes' resources. Knows no Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tastemaker_jobs.errors import ClusterTooSmallError
from tastemaker_jobs.training.request import Workers

__all__ = ["Asked", "check_fits", "groups_that_fit"]


@dataclass(frozen=True)
class Asked:
    """What a job asks a cluster for; besides, it needs a core to read data."""

    processes: int
    """1 or more."""
    cores: int = 1
    """Of each process."""
    gpu: bool = False
    """Whether each has one."""
    processes_each: int = 1
    """How many of them are one worker to who asked."""

    @classmethod
    def by(cls, workers: Workers) -> "Asked":
        """What workers ask for who train one model."""
        return cls(workers.count, workers.cores, workers.gpu, workers.processes_each)

    @property
    def all_cores(self) -> int:
        """With the one that reads."""
        return self.processes * self.cores + 1

    @property
    def all_gpus(self) -> int:
        """0 without --gpu."""
        return self.processes if self.gpu else 0

    def __str__(self) -> str:
        each = _counted(self.cores, "core")
        if self.processes_each > 1:
            each = f"{_counted(self.processes_each, 'GPU')} and {_counted(self.processes_each, 'process')} of {each}"
        elif self.gpu:
            each += " and a GPU"
        return f"{_counted(self.processes // self.processes_each, 'worker')} of {each} each, and one core to read data"


def check_fits(asked: Asked, nodes: Sequence[Mapping[str, float]]) -> None:
    """See that there is room for all workers, and a core to read their data: else Ray would wait for ever.

    Args:
        asked: What for.
        nodes: What each node has, as Ray names it: CPU and GPU.

    Raises:
        ClusterTooSmallError: There is no room.
    """
    cores, gpus = _total("CPU", nodes), _total("GPU", nodes)
    if _room(asked, nodes) >= asked.processes and cores >= asked.all_cores:
        return
    in_all = _counted(asked.all_cores, "core") + (f" and {_counted(asked.all_gpus, 'GPU')}" if asked.gpu else "")
    raise ClusterTooSmallError(
        f"asked for {asked}, {in_all} in all; the cluster has {_counted(cores, 'core')} and {_counted(gpus, 'GPU')} on"
        f" {_counted(len(nodes), 'node')}, and no worker is spread over two. Ask for fewer --workers, or add nodes."
    )


def groups_that_fit(asked: Asked, nodes: Sequence[Mapping[str, float]]) -> int:
    """For how many groups of workers, each with a core to read its data, there is room. 1 or more.

    Args:
        asked: By one group.
        nodes: As for `check_fits`.

    Raises:
        ClusterTooSmallError: There is not even room for one.
    """
    check_fits(asked, nodes)
    return min(_total("CPU", nodes) // asked.all_cores, _room(asked, nodes) // asked.processes)


def _room(asked: Asked, nodes: Sequence[Mapping[str, float]]) -> int:
    """For how many processes: none is spread over two nodes."""
    by_cores = [int(node.get("CPU", 0)) // asked.cores for node in nodes]
    if not asked.gpu:
        return sum(by_cores)
    return sum(min(cores, int(node.get("GPU", 0))) for cores, node in zip(by_cores, nodes, strict=True))


def _total(kind: str, nodes: Sequence[Mapping[str, float]]) -> int:
    return int(sum(node.get(kind, 0) for node in nodes))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 'es' if noun.endswith('s') else 's'}"
