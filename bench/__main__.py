"""`make bench`: runs the benchmarks named on the command line, or all, and writes docs/benchmarks.md.

Exit status 0 when every target was met, 1 when one was missed, 2 when a benchmark could not run.
"""

import argparse
import importlib
import os
import sys

from bench.load import h2load_is_there
from bench.report import write_report

_WITHOUT_LOAD = {"gpu", "precompute", "publication", "ray-training", "training"}
_BENCHMARKS = {
    "front-throughput": "bench.front_throughput",
    "front-live-model": "bench.front_live_model",
    "modelserver": "bench.modelserver",
    "publication": "bench.publication",
    "training": "bench.training",
    "ray-training": "bench.ray_training",
    "gpu": "bench.gpu",
    "precompute": "bench.precompute",
}


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures speed beside a reference.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of: " + ", ".join(_BENCHMARKS) + " (default: all)")
    names = parser.parse_args().names or list(_BENCHMARKS)
    unknown = sorted(set(names) - set(_BENCHMARKS))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(_BENCHMARKS)}")
    if set(names) - _WITHOUT_LOAD and not h2load_is_there():
        print(
            "error: h2load is missing; install it (Debian and Ubuntu: apt-get install nghttp2-client)", file=sys.stderr
        )
        return 2
    # Ray's workers give way to every other process, and what is measured beside them does not: whatever else the
    # machine does would count against Ray alone.
    os.environ.setdefault("RAY_worker_niceness", "0")
    is_met = True
    for name in names:
        print(f"== {name}", flush=True)
        results = importlib.import_module(_BENCHMARKS[name]).measure()
        if results:  # none where the machine has not what is measured
            write_report(name, f"make bench BENCH={name}", results)
        is_met = is_met and all(result.is_met is not False for result in results)
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
