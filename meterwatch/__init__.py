"""Streaming anomaly detection for electricity meters."""

import importlib
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attribute may be anything
    """`meterwatch.backtest`, found when it is asked for: it needs the packages of training."""
    if name == "backtest":
        return importlib.import_module("meterwatch.backtesting").backtest
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
