"""The registry as the service sees it: versions, and which of them judges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from meterwatch.storage import models
from serving.documentation import problems
from serving.problems import Problem

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


class Registry(BaseModel):
    """All versions, and the one that judges here now; null while there is none."""

    serving: str | None
    models: list[ModelEntry]


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
        return {"serving": current.version if current else None, "models": known}

    @router.get("/v1/models", response_model=Registry, responses=problems(409))
    def listed() -> dict[str, Any]:
        """Registered versions with their aliases."""
        return registry()

    @router.post("/v1/models/rollback", response_model=Registry, responses=problems(404, 409))
    def rollback() -> dict[str, Any]:
        """Make the champion before the present one champion again."""
        models.rollback(parts.settings)
        parts.champion.refresh()
        return registry()

    @router.post("/v1/models/{version}/promote", response_model=Registry, responses=problems(404, 409))
    def promote(
        version: Annotated[str, Path(pattern=r"^[0-9]{1,9}$")], body: Promotion | None = None
    ) -> dict[str, Any]:
        """Make a version champion; it judges from the next request on. One that the gate refused needs `force`."""
        if version not in {model.version for model in models.versions(parts.settings)}:
            raise Problem(404, f"There is no model version {version}.")
        models.promote(parts.settings, version, force=body.force if body else None)
        parts.champion.refresh()
        return registry()

    return router
