"""Starting a Ray on this machine: what did not start in time is ended before the next try."""

import subprocess
import sys
import time

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
pytest.importorskip("ray")

from ray._private.node import Node  # noqa: E402  # after the skip; nothing public makes a start fail

from tastemaker_jobs import ray_cluster  # noqa: E402  # after the skip
from tastemaker_jobs.errors import RayStartError  # noqa: E402  # after the skip

_HEAD = {"gcs_server", "raylet"}


class _LateNodes:
    """Makes the first starts fail where Ray waits for its node, once the processes of the head run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, late: int) -> None:
        self.late = late
        self.of_late_ones: list[psutil.Process] = []
        self.names: set[str] = set()
        start = Node.start_ray_processes
        others = set(psutil.Process().children())  # of this process, which runs other tests too

        def start_or_be_late(node: Node) -> None:
            start(node)
            if self.late:
                self.late -= 1
                until = time.monotonic() + 20  # a process has its parent's name until it has begun its program
                while True:
                    children = set(psutil.Process().children()) - others
                    names = {child.name() for child in children}
                    if names >= _HEAD or time.monotonic() > until:
                        break
                    time.sleep(0.05)
                self.of_late_ones += children
                self.names |= names
                raise Exception("The current node timed out during startup.")  # noqa: TRY002  # as Ray raises it

        monkeypatch.setattr(Node, "start_ray_processes", start_or_be_late)


def test_a_node_that_is_late_is_ended_and_another_one_started(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = _LateNodes(monkeypatch, late=1)
    with ray_cluster.connected(None):
        assert nodes.names >= _HEAD
        assert not any(process.is_running() for process in nodes.of_late_ones)
        assert ray_cluster.all_cores() >= 1


def test_a_ray_that_never_starts_in_time_is_one_error_and_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = _LateNodes(monkeypatch, late=100)
    with pytest.raises(RayStartError, match=r"Ray cannot be started: .*timed out"), ray_cluster.connected(None):
        pass
    assert nodes.names >= _HEAD
    assert not any(process.is_running() for process in nodes.of_late_ones)


_DRIVER = """
from tastemaker_jobs import environment
environment.quiet_libraries()
import ray, time
from tastemaker_jobs.ray_cluster import connected
with connected(None):
    @ray.remote
    def work(): time.sleep(600)
    working = work.remote()
    print("working", flush=True)
    ray.get(working)
"""


@pytest.mark.faults
def test_a_driver_whose_head_is_killed_says_what_to_do_and_ends() -> None:
    driver = psutil.Popen([sys.executable, "-c", _DRIVER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    others = []
    try:
        assert driver.stdout.readline() == "working\n"
        others = driver.children(recursive=True)
        (head,) = [process for process in others if process.name() == "gcs_server"]
        head.kill()
        _, said = driver.communicate(timeout=120)
        _, alive = psutil.wait_procs(others, timeout=20)
        assert [process for process in alive if "Agent" not in process.name()] == [], "agents end by themselves, later"
    finally:
        for process in [driver, *others]:
            if process.is_running():
                process.kill()
    assert driver.returncode == 1, said
    assert said.splitlines()[-1].startswith("error: the head of the Ray cluster is gone. Submit it again")
    assert "Traceback" not in said
