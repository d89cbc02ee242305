"""What every benchmark writes down: on which machine, and where."""

from __future__ import annotations

import os
import platform
from pathlib import Path

RESULTS = Path(__file__).with_name("results")


def machine() -> str:
    """The machine in a line; to be asked before the measuring loads it."""
    cores, load = os.cpu_count(), os.getloadavg()[0]
    return f"{platform.machine()}, {cores} cores, Python {platform.python_version()}; load before: {load:.1f}"


def keep(text: str, file: Path) -> None:
    """Print the figures and write them into a file, which is made with its directory."""
    print(text)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")
