"""What a job asks for beside what a cluster has: cores, GPUs, nodes, and the words of who asked."""

import pytest

from tastemaker_jobs.arguments import check_combination, parser
from tastemaker_jobs.cli import _workers
from tastemaker_jobs.cluster_size import Asked, check_fits, groups_that_fit
from tastemaker_jobs.errors import ClusterTooSmallError


def asked(*more):
    """By `train` with these arguments."""
    given = vars((made := parser()).parse_args(["train", "rnn", *more]))
    check_combination(made, given)
    return Asked.by(_workers(given))


def test_several_gpus_per_worker_are_as_many_processes_of_a_gpu_each():
    found = asked("--workers", "2", "--gpu", "--gpus-per-worker", "4", "--cores", "3")
    assert (found.processes, found.all_gpus, found.all_cores) == (8, 8, 25)
    check_fits(found, [{"CPU": 16, "GPU": 4}, {"CPU": 12, "GPU": 4}])
    with pytest.raises(
        ClusterTooSmallError,
        match=r"asked for 2 workers of 4 GPUs and 4 processes of 3 cores each, and one core to read data, 25 cores and"
        r" 8 GPUs in all; the cluster has 40 cores and 7 GPUs on 2 nodes",
    ):
        check_fits(found, [{"CPU": 20, "GPU": 4}, {"CPU": 20, "GPU": 3}])


def test_workers_are_called_what_their_user_called_them():
    given = vars(parser().parse_args(["train", "rnn", "--workers", "2", "--gpu", "--gpus-per-worker", "4"]))
    assert (_workers(given).count, _workers(given).as_asked) == (8, "2 workers of 4 GPUs")


def test_without_gpus_those_of_the_cluster_do_not_matter():
    check_fits(asked("--workers", "2"), [{"CPU": 3}])


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ([{"CPU": 2}], "asked for 2 workers of 1 core each, and one core to read data, 3 cores in all"),
        ([], "the cluster has 0 cores and 0 GPUs on 0 nodes"),
    ],
)
def test_the_core_that_reads_is_counted(nodes, says):
    with pytest.raises(ClusterTooSmallError, match=says):
        check_fits(asked("--workers", "2"), nodes)


def test_a_process_is_not_spread_over_two_nodes():
    three = asked("--workers", "2", "--cores", "3")
    check_fits(three, [{"CPU": 4}, {"CPU": 4}])
    with pytest.raises(ClusterTooSmallError, match="8 cores and 0 GPUs on 4 nodes, and no worker is spread over two"):
        check_fits(three, [{"CPU": 2}] * 4)
    with pytest.raises(ClusterTooSmallError, match="a GPU each"):
        check_fits(asked("--workers", "2", "--gpu"), [{"CPU": 8, "GPU": 1}, {"CPU": 0, "GPU": 1}])


def test_as_many_groups_fit_as_have_their_cores_on_one_node_each_and_a_core_to_read():
    pair = asked("--workers", "2", "--cores", "3")
    assert groups_that_fit(pair, [{"CPU": 4}] * 4) == 2
    assert groups_that_fit(pair, [{"CPU": 5}] * 3) == 1, "15 cores, but only three of the processes find their place"
    assert groups_that_fit(asked("--workers", "1", "--gpu"), [{"CPU": 16, "GPU": 3}]) == 3
