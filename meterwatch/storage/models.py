"""The model registry, read and moved straight in MLflow's database: importing mlflow takes seconds, this a moment.

Only registering a new version goes through mlflow (`training.register`). The champions so far are kept in order as a
tag of the registered model, so that a rollback goes back step by step; each decision is a tag of its version.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
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
_CHAMPIONS = "champions"  # tag of the registered model: versions in the order they became champion
_WAIT_S = 5.0


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
            "SELECT version, run_id, storage_location, source FROM model_versions WHERE name = ? ORDER BY version DESC",
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


def promote(settings: Settings, version: str, reason: str = "by hand", *, force: str | None = None) -> None:
    """Make a version champion and remember the one before.

    Args:
        settings: where the registry is.
        version: a registered version.
        reason: kept with the version.
        force: why one that the gate refused shall judge all the same; kept with the version and shown.

    Raises:
        RegistryError: there is no registry or no such version, its files are gone or altered, another meterwatch
            wrote it, or the gate refused it and no reason was given.
    """
    known = {found.version: found for found in versions(settings)}
    if version not in known:
        raise RegistryError(
            f"there is no version {version} of {settings.model_name}; `meterwatch models list` shows what there is"
        )
    _prove(known[version])
    _check_readable(known[version])
    forced = (force or "").strip()
    if known[version].refused and not forced:
        raise RegistryError(
            f"the gate refused version {version}: {known[version].tags.get(GATE)}; "
            f'`meterwatch models promote {version} --force "REASON"` goes past it, and the reason is kept'
        )
    with writing(settings) as db:
        order = _champions(db, settings.model_name)
        if order[-1:] != [version]:
            _move(db, settings.model_name, [*order, version], reason, forced if known[version].refused else "")


def rollback(settings: Settings) -> None:
    """Make the champion before the present one champion again; once more goes one further back.

    Raises:
        RegistryError: there was none, its files are gone or altered, or another meterwatch wrote it.
    """
    known = {found.version: found for found in versions(settings)}
    with writing(settings) as db:
        order = _champions(db, settings.model_name)
        if len(order) < 2:  # noqa: PLR2004 - the present one and the one before
            raise RegistryError("no champion came before this one; `meterwatch models promote VERSION` chooses one")
        _prove(known[order[-2]])
        _check_readable(known[order[-2]])
        _move(db, settings.model_name, order[:-1], f"rollback from version {order[-1]}")


def _check_readable(found: ModelVersion) -> None:
    """Refuse a version whose states and bundle another meterwatch reads: no service of this one could load it."""
    from meterwatch.detection.memory import SCHEMA  # brings numpy, which commands that only look need not

    try:
        schema = json.loads((found.bundle_dir / MANIFEST).read_text()).get("schema")
    except (OSError, ValueError):
        return
    if schema not in (None, SCHEMA):
        raise RegistryError(
            f"version {found.version} keeps meters' states in schema {schema}, this meterwatch reads schema {SCHEMA}; "
            "`dvc repro` makes a version that does"
        )


def challenge(settings: Settings, version: str) -> None:
    """Give a version that did not become champion the alias challenger."""
    with writing(settings) as db:
        _alias(db, settings.model_name, CHALLENGER, version)


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


def _prove(found: ModelVersion) -> None:
    """A service that starts anew would refuse what was altered, and nothing would be judged: refused here already."""
    from meterwatch.detection.detector import bundle_hash  # a second, for commands that only look

    try:
        files = json.loads((found.bundle_dir / MANIFEST).read_text()).get("files", {})
        altered = [name for name, digest in files.items()
                   if hashlib.sha256((found.bundle_dir / name).read_bytes()).hexdigest() != digest]  # fmt: skip
    except (OSError, ValueError) as error:
        raise RegistryError(f"the files of version {found.version} are gone; `dvc repro` makes a new one") from error
    if files and found.bundle_sha256 not in (None, bundle_hash(files)):
        altered.append(MANIFEST)
    if altered:
        raise RegistryError(
            f"{found.bundle_dir / altered[0]} was altered since version {found.version} was registered, the champion "
            "stays; restore it from a backup, or promote another version"
        )


@contextmanager
def writing(settings: Settings) -> Iterator[sqlite3.Connection]:
    """One short transaction on the registry.

    Raises:
        RegistryError: there is none.
    """
    path = database(settings)
    if not path.exists():
        raise RegistryError("there is no registry yet; `dvc repro` makes one")
    with closing(sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)) as db:
        if not _has_registry(db):
            raise RegistryError("no model is registered; `dvc repro` makes one")
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")


def _has_registry(db: sqlite3.Connection) -> bool:
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return {"model_versions", "registered_model_aliases", "model_version_tags", "registered_model_tags"} <= tables


def _champions(db: sqlite3.Connection, name: str) -> list[str]:
    """Versions in the order they became champion, the present one last: the alias itself decides which that is."""
    held = db.execute(
        "SELECT value FROM registered_model_tags WHERE name = ? AND key = ?", (name, _CHAMPIONS)
    ).fetchone()
    now = db.execute(
        "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?", (name, CHAMPION)
    ).fetchone()
    order: list[str] = json.loads(held[0]) if held else []
    if now is not None and order[-1:] != [str(now[0])]:
        order.append(str(now[0]))  # somebody moved the alias in MLflow
    return order


def _move(db: sqlite3.Connection, name: str, order: list[str], reason: str, forced: str = "") -> None:
    version = order[-1]
    before = db.execute(
        "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?", (name, CHAMPION)
    ).fetchone()
    _alias(db, name, CHAMPION, version)
    db.execute("DELETE FROM registered_model_aliases WHERE name = ? AND alias = ? AND version = ?",
               (name, CHALLENGER, version))  # fmt: skip
    recent = order[-100:]  # a tag has room for 5,000 characters
    db.execute("INSERT OR REPLACE INTO registered_model_tags (name, key, value) VALUES (?, ?, ?)",
               (name, _CHAMPIONS, json.dumps(recent)))  # fmt: skip
    held = db.execute(
        "SELECT value FROM model_version_tags WHERE name = ? AND version = ? AND key = ?", (name, version, DECISIONS)
    ).fetchone()
    decision: dict[str, Any] = {"at": int(time.time()), "before": str(before[0]) if before else None, "reason": reason}
    if forced:
        decision["forced"] = forced
    decisions = [*(json.loads(held[0]) if held else []), decision]
    db.execute("INSERT OR REPLACE INTO model_version_tags (name, version, key, value) VALUES (?, ?, ?, ?)",
               (name, version, DECISIONS, json.dumps(decisions)))  # fmt: skip


def _alias(db: sqlite3.Connection, name: str, alias: str, version: str) -> None:
    db.execute("INSERT OR REPLACE INTO registered_model_aliases (name, alias, version) VALUES (?, ?, ?)",
               (name, alias, int(version)))  # fmt: skip


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
