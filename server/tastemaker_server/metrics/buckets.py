"""Bounds of histograms, in seconds."""

__all__ = ["LATENCY_SECONDS"]

LATENCY_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0)
"""For calls whose callers wait a millisecond to a second: as fine as 50 % where deadlines usually lie."""
