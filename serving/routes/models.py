"""The registry as the service sees it: versions, and which of them judges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel

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
            {"version": model.version, "run_id": model.run_id, "aliases": sorted(model.aliases)}
            for model in models.versions(parts.settings)
        ]
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
    def promote(version: Annotated[str, Path(pattern=r"^[0-9]{1,9}$")]) -> dict[str, Any]:
        """Make a version champion; it judges from the next request on."""
        if version not in {model.version for model in models.versions(parts.settings)}:
            raise Problem(404, f"There is no model version {version}.")
        models.promote(parts.settings, version)
        parts.champion.refresh()
        return registry()

    return router
