"""What the routes share: made once, when the app is made, and handed to each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving.problems import Problem, unavailable

if TYPE_CHECKING:
    from datetime import tzinfo

    from meterwatch.settings import Settings
    from serving.champion import Champion, Model
    from serving.drifting import Drifting
    from serving.feed import Feed
    from serving.intake import Intake
    from serving.keys import Keys
    from serving.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Parts:
    """The running parts of one service."""

    settings: Settings
    zone: tzinfo
    champion: Champion
    drift: Drifting
    metrics: Metrics
    feed: Feed
    intake: Intake
    keys: Keys | None

    def model(self) -> Model:
        """The model that judges.

        Raises:
            Problem: 503, there is none.
        """
        model = self.champion.current
        if model is None:
            raise unavailable("There is no champion model; `dvc repro` makes one.", seconds=5)
        return model


def unknown_meter(meter_id: str) -> Problem:
    """404 for a meter that never reported."""
    return Problem(404, f"No reading of a meter {meter_id!r} is stored.")
