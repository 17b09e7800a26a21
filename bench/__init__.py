"""Benchmarks: each measures one thing beside a reference in the same run. `make bench` writes docs/benchmarks.md."""
