"""Judging models: what they list is scored by a library made for it, with intervals, beside popularity."""
