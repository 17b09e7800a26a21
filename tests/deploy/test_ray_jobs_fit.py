"""The Ray jobs of deploy/ and of the guide ask for no more than the Ray cluster of the manifests has.

By the arithmetic that the jobs refuse by themselves, so that none of them is refused, or waits, in a cluster.
"""

import re
import shlex

import pytest
from tests.deploy.manifests import OVERLAYS, ROOT, containers, found, rendered, title

from tastemaker_jobs import arguments as jobs_arguments
from tastemaker_jobs.cli import _workers
from tastemaker_jobs.cluster_size import Asked, check_fits
from tastemaker_jobs.errors import ClusterTooSmallError

_GUIDE = ROOT / "docs" / "deploy.md"


def _nodes(overlay):
    """What KubeRay tells Ray of each node: a start parameter, or the limits of the pod's first container."""
    spec = found(overlay, "RayCluster", "tastemaker")["spec"]
    groups = [(spec["headGroupSpec"], 1), *((group, group["replicas"]) for group in spec["workerGroupSpecs"])]
    nodes = []
    for group, count in groups:
        limits = containers(group["template"])[0]["resources"]["limits"]
        cores = group["rayStartParams"].get("num-cpus", limits["cpu"])
        nodes += [{"CPU": float(cores), "GPU": float(limits.get("nvidia.com/gpu", 0))}] * count
    return nodes


def _command_lines():
    for manifest in rendered("jobs"):
        yield title(manifest), manifest["spec"]["entrypoint"]
    guide = " ".join(_GUIDE.read_text("utf-8").split())
    for words in re.findall(r"tastemaker-jobs (?:train|crossval|precompute|tune) [^`(]*?--workers [^`(]*", guide):
        yield "docs/deploy.md", words


def _asked():
    for where, line in _command_lines():
        given = vars(jobs_arguments.parser().parse_args(shlex.split(line)[1:]))
        if given.get("workers") is None:
            continue
        if given["command"] == "precompute":
            yield where, Asked(given["workers"], gpu=given["gpu"])
        else:
            yield where, Asked.by(_workers(given))


@pytest.mark.slow
@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name != "dev"])
def test_what_ray_jobs_ask_for_is_there(overlay):
    asked = list(_asked())
    assert {where for where, _ in asked} >= {"RayJob/tastemaker-train-", "docs/deploy.md"}
    for where, one in asked:
        try:
            check_fits(one, _nodes(overlay))
        except ClusterTooSmallError as error:
            pytest.fail(f"{where}: {error}")


@pytest.mark.slow
def test_a_job_of_one_core_too_many_would_be_found():
    nodes = _nodes("prod")
    assert [node["CPU"] for node in nodes] == [0.0, 4.0, 4.0], "the head computes nothing"
    with pytest.raises(ClusterTooSmallError, match=r"9 cores in all; the cluster has 8 cores and 0 GPUs on 3 nodes"):
        check_fits(Asked(2, cores=4), nodes)
    with pytest.raises(ClusterTooSmallError, match="no worker is spread over two"):
        check_fits(Asked(1, cores=5), nodes)


@pytest.mark.slow
def test_jobs_that_take_hours_go_on_when_they_are_created_again():
    """With a name that is the same each time, for what is to be found again."""
    lines = {where.split("-")[1]: line for where, line in _command_lines() if where.startswith("RayJob")}
    assert "--run-id" in lines["train"]
    assert "--out" in lines["crossval"]
    assert "--out" in lines["tune"]
