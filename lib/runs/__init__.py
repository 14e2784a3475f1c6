"""Runs: a spec becomes a record."""

from lib.runs.sweeps import ensure, obtain, prepare

__all__ = ["ensure", "obtain", "prepare"]
