"""The registry as the service sees it: versions, and which of them judges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from meterwatch.storage import champions, models, queries, shadow, states
from serving.documentation import problems
from serving.problems import Problem
from serving.times import text

if TYPE_CHECKING:
    from serving.parts import Parts


class ModelEntry(BaseModel):
    """A registered version."""

    version: str
    run_id: str | None
    aliases: list[str]
    gate: str | None = Field(description="What the gate said when it was registered; null where it was not asked.")


class Promotion(BaseModel):
    """How a version is promoted."""

    force: str | None = Field(
        None, min_length=1, max_length=1_000,
        description="Why a version that the gate refused shall judge all the same; kept with the version.",
    )  # fmt: skip


class SignalDrift(BaseModel):
    """How far a channel, the power factor or the score has moved, as a mean distance between ranks, 0 to 1.

    `distance` is null where too few readings have it; one in a hundred days of the reference exceeds `usual`.
    """

    signal: str
    distance: float | None
    usual: float
    drifted: bool


class DriftNow(BaseModel):
    """The newest day of `meters` meters beside what the model was made of; `signals` null: its bundle does not say."""

    version: str
    meters: int
    signals: list[SignalDrift] | None


class OneSided(BaseModel):
    """An event that only `side` (champion or challenger) has."""

    side: str
    event_id: str
    meter_id: str
    start_at: str
    end_at: str | None
    severity: float
    kind: str


class ShadowNow(BaseModel):
    """A challenger's verdicts beside the champion's, since it judges in its shadow."""

    challenger: str
    champion: str
    begun_at: str
    looked_at: str
    agreement: float | None
    readings: int
    both: int
    champion_only: int
    challenger_only: int
    unscored: int
    meters: int
    begun_again: int
    behind_s: int
    events_champion: int
    events_champion_only: int
    events_challenger: int
    events_challenger_only: int
    newest_alone: list[OneSided]


class Registry(BaseModel):
    """All versions, and the one that judges here now; null while there is none. Likewise drift and shadow."""

    serving: str | None
    models: list[ModelEntry]
    drift: DriftNow | None
    shadow: ShadowNow | None


def routes(parts: Parts) -> APIRouter:
    """The routes under `/v1/models`."""
    router = APIRouter(tags=["models"])

    def registry() -> dict[str, Any]:
        current = parts.champion.current
        known = [
            {"version": model.version, "run_id": model.run_id, "aliases": sorted(model.aliases),
             "gate": model.gate or None}
            for model in models.versions(parts.settings)
        ]  # fmt: skip
        version = current.version if current else None
        return {"serving": version, "models": known, "drift": _drift(parts), "shadow": _shadow(parts)}

    @router.get("/v1/models", response_model=Registry, responses=problems(409))
    def listed() -> dict[str, Any]:
        """Registered versions with their aliases."""
        return registry()

    @router.post("/v1/models/rollback", response_model=Registry, responses=problems(404, 409))
    def rollback() -> dict[str, Any]:
        """Make the champion before the present one champion again."""
        champions.rollback(parts.settings)
        parts.champion.refresh()
        return registry()

    @router.post("/v1/models/{version}/promote", response_model=Registry, responses=problems(404, 409))
    def promote(
        version: Annotated[str, Path(pattern=r"^[0-9]{1,9}$")], body: Promotion | None = None
    ) -> dict[str, Any]:
        """Make a version champion; it judges from the next request on. One that the gate refused needs `force`."""
        if version not in {model.version for model in models.versions(parts.settings)}:
            raise Problem(404, f"There is no model version {version}.")
        states.check(parts.settings, version)
        champions.promote(parts.settings, version, force=body.force if body else None)
        parts.champion.refresh()
        return registry()

    return router


def _drift(parts: Parts) -> dict[str, Any] | None:
    found = parts.drift.current
    if found is None:
        return None
    known = found.distances
    signals = None if known is None else [{**one._asdict(), "drifted": one.drifted} for one in known]
    return {"version": found.version, "meters": found.meters, "signals": signals}


def _shadow(parts: Parts) -> dict[str, Any] | None:
    with queries.reading(parts.settings) as db:
        found, events, alone = shadow.comparison(db), shadow.events(db), shadow.alone(db)
    if found is None:
        return None
    times = {name: text(getattr(found, name)) for name in ("begun_at", "looked_at")}
    sides = {f"events_{name}": number for name, number in events._asdict().items()}
    newest = [
        {**one, "start_at": text(one["start_at"]), "end_at": one["end_at"] and text(one["end_at"])} for one in alone
    ]
    return {
        **found._asdict(), **found.counts._asdict(), **times, **sides, "agreement": found.agreement,
        "newest_alone": newest,
    }  # fmt: skip
