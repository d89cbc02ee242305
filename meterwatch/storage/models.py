"""The model registry, read straight in MLflow's database: importing mlflow takes seconds, this a moment.

Only registering a new version goes through mlflow (`training.registration`); `champions` moves who judges.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meterwatch.settings import Settings

CHAMPION, CHALLENGER = "champion", "challenger"
SCHEME = "sqlite:///"
MANIFEST = "manifest.json"
BUNDLE_SHA256 = "bundle_sha256"
DECISIONS = "decisions"  # tag of a version: when it became champion, instead of which, and why
GATE, GATE_PASSED, GATE_CHECKS = "gate", "gate_passed", "gate_checks"  # tags of a version: why, true or false, numbers
_WAIT_S = 5.0
_MAKE = "`dvc repro` makes one, and where only that file is gone `dvc repro --force --single-item register`"


class RegistryError(Exception):
    """The registry cannot do this; the message names the next step."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A registered version."""

    version: str
    run_id: str | None
    bundle_dir: Path  # holds manifest.json
    aliases: frozenset[str]
    tags: Mapping[str, str]

    @property
    def bundle_sha256(self) -> str | None:
        """The hash under which its bundle was registered; None where that was not recorded."""
        return self.tags.get(BUNDLE_SHA256)

    @property
    def refused(self) -> bool:
        """Whether the gate refused it."""
        return self.tags.get(GATE_PASSED) == "false"

    @property
    def gate(self) -> str:
        """What the gate said, and who went past it why; empty where nobody asked it."""
        forced = [one["forced"] for one in json.loads(self.tags.get(DECISIONS, "[]")) if one.get("forced")]
        said = [f"refused: {self.tags[GATE]}"] if self.refused else [self.tags[GATE]] if GATE in self.tags else []
        return "; ".join([*said, *(f"forced: {reason}" for reason in forced)])


def reading(path: Path) -> closing[sqlite3.Connection]:
    """The registry's file, open for reading until the end of a `with` block.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    return closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_WAIT_S))


def versions(settings: Settings) -> list[ModelVersion]:
    """Every registered version, the newest first; none where there is no registry yet.

    Raises:
        RegistryError: the registry is not a SQLite file.
        sqlite3.Error: the registry cannot be read.
    """
    path = database(settings)
    if not path.exists():
        return []
    with reading(path) as db:
        if not _has_registry(db):
            return []
        name = (settings.model_name,)
        aliases: dict[int, set[str]] = {}
        for alias, number in db.execute("SELECT alias, version FROM registered_model_aliases WHERE name = ?", name):
            aliases.setdefault(int(number), set()).add(alias)
        tags: dict[int, dict[str, str]] = {}
        for number, key, value in db.execute("SELECT version, key, value FROM model_version_tags WHERE name = ?", name):
            tags.setdefault(int(number), {})[key] = value
        rows = db.execute(
            "SELECT version, run_id, storage_location, source FROM model_versions "
            "WHERE name = ? AND current_stage IS NOT 'Deleted_Internal' ORDER BY version DESC",  # MLflow keeps the row
            name,
        ).fetchall()
    return [
        ModelVersion(
            str(number), run_id, _bundle_dir(location or source, path.absolute().parent),
            frozenset(aliases.get(int(number), ())), tags.get(int(number), {}),
        )
        for number, run_id, location, source in rows
    ]  # fmt: skip


def champion(settings: Settings) -> ModelVersion | None:
    """The version with the alias champion; None while there is none."""
    return next((found for found in versions(settings) if CHAMPION in found.aliases), None)


def challenger(settings: Settings) -> ModelVersion | None:
    """The version with the alias challenger; None while there is none."""
    return next((found for found in versions(settings) if CHALLENGER in found.aliases), None)


def numbered(settings: Settings, version: str) -> ModelVersion | None:
    """The version with this number; None where the registry has none such."""
    return next((found for found in versions(settings) if found.version == version), None)


def holding(settings: Settings, bundle_sha256: str) -> ModelVersion | None:
    """The newest version of a bundle with this hash whose files are still there."""
    return next(
        (
            found
            for found in versions(settings)
            if found.bundle_sha256 == bundle_sha256 and (found.bundle_dir / MANIFEST).exists()
        ),
        None,
    )


def relocate(settings: Settings, before: str, now: str) -> None:
    """After the project was moved: what MLflow recorded below one folder of artefacts lies below another.

    Args:
        settings: where the registry is.
        before: the folder as recorded, a URI or a path.
        now: the folder as it is, likewise.
    """
    columns = (("experiments", "artifact_location"), ("runs", "artifact_uri"),
               ("logged_models", "artifact_location"), ("model_versions", "storage_location"))  # fmt: skip
    with writing(settings) as db:
        for table, column in columns:
            db.execute(  # the names are the four above
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608
                (now, len(before) + 1, len(before), before),
            )


def database(settings: Settings) -> Path:
    """The registry's file.

    Raises:
        RegistryError: the tracking URI names no SQLite file.
    """
    uri = settings.mlflow_tracking_uri
    if not uri.startswith(SCHEME):
        raise RegistryError(f"METERWATCH_MLFLOW_TRACKING_URI has to be {SCHEME}PATH; the registry is a SQLite file")
    return Path(uri.removeprefix(SCHEME))


@contextmanager
def writing(settings: Settings) -> Iterator[sqlite3.Connection]:
    """One short transaction on the registry.

    Raises:
        RegistryError: there is none.
    """
    path = database(settings)
    if not path.exists():
        raise RegistryError(f"there is no registry {path}; {_MAKE}")
    with closing(sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)) as db:
        if not _has_registry(db):
            raise RegistryError(f"no model is registered; {_MAKE}")
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")


def _has_registry(db: sqlite3.Connection) -> bool:
    try:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname != "SQLITE_NOTADB":
            raise
        raise RegistryError(
            "the registry's file is damaged, whatever judges goes on; put one from a backup in its place, or move it "
            "away: `dvc repro --force --single-item register` makes a new one"
        ) from error
    return {"model_versions", "registered_model_aliases", "model_version_tags", "registered_model_tags"} <= tables


def _bundle_dir(location: str, registry: Path) -> Path:
    """Where a version's bundle lies. MLflow writes absolute paths; what lies beside the registry comes first.

    So a moved project works, and a copied one does not read the other's files.
    """
    parts = urlsplit(location)
    recorded = Path(unquote(parts.path) if parts.scheme == "file" else location)
    # .../mlruns/artifacts/models/m-1/artifacts: what follows the first folder `artifacts` stays when it moves.
    beside = [registry.joinpath(*recorded.parts[i:]) for i, part in enumerate(recorded.parts) if part == "artifacts"]
    places = (place for root in (*beside, recorded) for place in (root / "artifacts" / "bundle", root / "bundle", root))
    return next((place for place in places if (place / MANIFEST).exists()), recorded)
