"""The version of the signatures' contract that this code writes and accepts; see docs/architecture.md."""

__all__ = ["CONTRACT_VERSION"]

CONTRACT_VERSION = 1
