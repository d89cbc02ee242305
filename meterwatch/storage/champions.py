"""Who judges, and who judged before: promoted, rolled back and challenged, straight in MLflow's database.

The champions so far are kept in order as a tag of the registered model, so that a rollback goes back step by step; each
decision is a tag of its version.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

from meterwatch.storage.models import (
    CHALLENGER,
    CHAMPION,
    DECISIONS,
    GATE,
    MANIFEST,
    ModelVersion,
    RegistryError,
    versions,
    writing,
)

if TYPE_CHECKING:
    import sqlite3

    from meterwatch.settings import Settings

_ORDER = "champions"  # tag of the registered model: versions in the order they became champion


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
        order = [version for version in _champions(db, settings.model_name) if version in known]  # none deleted since
        if len(order) < 2:  # noqa: PLR2004 - the present one and the one before
            raise RegistryError("no champion came before this one; `meterwatch models promote VERSION` chooses one")
        _prove(known[order[-2]])
        _move(db, settings.model_name, order[:-1], f"rollback from version {order[-1]}")


def challenge(settings: Settings, version: str) -> None:
    """Give a version that did not become champion the alias challenger."""
    with writing(settings) as db:
        _alias(db, settings.model_name, CHALLENGER, version)


def _prove(found: ModelVersion) -> None:
    """Refuse what no service of this meterwatch could load: it would start anew without a model."""
    from meterwatch.detection.detector import bundle_hash  # a second, for commands that only look
    from meterwatch.detection.memory import SCHEMA

    try:
        manifest = json.loads((found.bundle_dir / MANIFEST).read_text())
        files = manifest.get("files", {})
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
    if manifest.get("schema", SCHEMA) != SCHEMA:
        raise RegistryError(
            f"version {found.version} keeps meters' states in schema {manifest['schema']}, this meterwatch reads "
            f"schema {SCHEMA}; `dvc repro` makes a version that does"
        )


def _champions(db: sqlite3.Connection, name: str) -> list[str]:
    """Versions in the order they became champion, the present one last: the alias itself decides which that is."""
    held = _value(db, "SELECT value FROM registered_model_tags WHERE name = ? AND key = ?", name, _ORDER)
    order: list[str] = json.loads(held or "[]")
    now = _aliased(db, name)
    if now is not None and order[-1:] != [now]:
        order.append(now)  # somebody moved the alias in MLflow
    return order


def _move(db: sqlite3.Connection, name: str, order: list[str], reason: str, forced: str = "") -> None:
    version = order[-1]
    decision = {"at": int(time.time()), "before": _aliased(db, name), "reason": reason}
    if forced:
        decision["forced"] = forced
    _alias(db, name, CHAMPION, version)
    db.execute("DELETE FROM registered_model_aliases WHERE name = ? AND alias = ? AND version = ?",
               (name, CHALLENGER, version))  # fmt: skip
    recent = order[-100:]  # a tag has room for 5,000 characters
    db.execute("INSERT OR REPLACE INTO registered_model_tags (name, key, value) VALUES (?, ?, ?)",
               (name, _ORDER, json.dumps(recent)))  # fmt: skip
    held = _value(db, "SELECT value FROM model_version_tags WHERE name = ? AND version = ? AND key = ?",
                  name, version, DECISIONS)  # fmt: skip
    db.execute("INSERT OR REPLACE INTO model_version_tags (name, version, key, value) VALUES (?, ?, ?, ?)",
               (name, version, DECISIONS, json.dumps([*json.loads(held or "[]"), decision])))  # fmt: skip


def _aliased(db: sqlite3.Connection, name: str) -> str | None:
    found = _value(db, "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?", name, CHAMPION)
    return None if found is None else str(found)


def _alias(db: sqlite3.Connection, name: str, alias: str, version: str) -> None:
    db.execute("INSERT OR REPLACE INTO registered_model_aliases (name, alias, version) VALUES (?, ?, ?)",
               (name, alias, int(version)))  # fmt: skip


def _value(db: sqlite3.Connection, query: str, *values: str) -> Any:  # noqa: ANN401 - a column's type
    row = db.execute(query, values).fetchone()
    return row[0] if row else None
