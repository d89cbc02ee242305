"""A short storm; `python -m benchmarks.kill_storm` is the long one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.kill_storm import Storm
from meterwatch.processes import BROKER, SERVICE, SPARK, STREAM, UP

if TYPE_CHECKING:
    from pathlib import Path

KILLS = {BROKER: 2, SERVICE: 2, STREAM: 1, SPARK: 1, UP: 1}
RATE = 120.0
SEED = 338  # Spark's Java dies at work, the stream while it starts, a broker at work, the supervisor last


@pytest.mark.timeout(1800)  # five starts of Spark, on a machine that may be busy
def test_whatever_is_killed_nothing_is_lost_doubled_or_changed(registry: str, tmp_path: Path) -> None:
    storm = Storm(tmp_path, SEED, KILLS, RATE, registry)
    outcome = storm.run()
    assert outcome.faults == []
    assert outcome.events > 0
    assert outcome.restarted.total() >= sum(KILLS.values()) - KILLS[UP] - 1  # what dies with a supervisor is not told
    assert storm.left() == []
