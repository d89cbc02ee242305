"""Load by somebody else's tool on a service that runs, with `/metrics` telling what memory does.

    .venv/bin/uv tool run locust -f benchmarks/locustfile.py --headless --users 16 --run-time 10m -H http://127.0.0.1:8000

Each user is a meter with a state: single readings, now and then a day at once; ends with 1 where a request failed.
"""

from __future__ import annotations

import datetime as dt
import itertools
from typing import TYPE_CHECKING

import requests
from locust import HttpUser, constant, events, task

if TYPE_CHECKING:
    from locust.env import Environment

START = dt.datetime(2009, 12, 16, tzinfo=dt.UTC)
NUMBERS = itertools.count()


class Meter(HttpUser):
    """Sends its readings one after the other, each with the state that was last answered."""

    wait_time = constant(0)

    def on_start(self) -> None:
        """A new meter."""
        self.told = {"meter_id": f"locust-{next(NUMBERS)}", "state": None, "profile": None}
        self.minute = 0

    def score(self, count: int) -> None:
        """The next so many readings."""
        readings = [
            {"at": (START + dt.timedelta(minutes=k)).isoformat(), "active_power_kw": k % 1440 // 60 / 10}
            for k in range(self.minute, self.minute + count)
        ]
        meter = {**self.told, "readings": readings}
        with self.client.post(
            "/v1/score", json={"meters": [meter]}, name=f"{count} readings", catch_response=True
        ) as answer:
            if not answer.ok or len(answer.json()["meters"][0]["verdicts"]) != count:
                answer.failure(answer.text[:200])
                return
        found = answer.json()["meters"][0]
        self.told |= {"state": found["state"], "profile": found["profile"] or self.told["profile"]}
        self.minute += count

    @task(200)
    def one(self) -> None:
        """A reading."""
        self.score(1)

    @task(1)
    def day(self) -> None:
        """A day of readings."""
        self.score(1440)

    @task(5)
    def look(self) -> None:
        """What a monitor does."""
        self.client.get("/metrics")


@events.test_start.add_listener
@events.test_stop.add_listener
def weigh(environment: Environment, **_: object) -> None:
    """Print the service's resident memory."""
    lines = requests.get(f"{environment.host}/metrics", timeout=10).text.splitlines()
    print(*(line for line in lines if line.startswith("process_resident_memory_bytes")))
