"""An instance in one file, taken while it runs, and put back on a machine that has nothing.

The database is copied first and the broker's log after it: the copy of the log is never behind the copy of the ledger,
so what was restored reads on from its own offsets as after any other stop. The file is a plain tar; its last member
lists the SHA-256 of all others.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import tarfile
from contextlib import ExitStack, closing, suppress
from io import BytesIO
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from meterwatch import instance
from meterwatch.storage import models, outbox
from meterwatch.storage.migrate import APPLICATION_ID, database_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meterwatch.settings import Settings

DATABASE, REGISTRY, ARTIFACTS, BROKER, MANIFEST = "database", "registry", "artifacts", "broker", "manifest.json"
METADATA = "__cluster_metadata-0"  # knows every topic: copied last, so that it misses none
# Kafka makes indices again from the log, and must not believe that a copied log was closed.
LEFT_OUT = {".index", ".timeindex", ".txnindex", ".lock", ".kafka_cleanshutdown"}
BLOCK = 1 << 20


class BackupError(Exception):
    """Nothing was backed up or restored; the message says why and what next."""


class Copied(NamedTuple):
    """What a backup holds."""

    files: int
    size: int  # bytes
    readings: int  # rows of `power_data`
    has_broker: bool  # the records of this instance's own broker are in it
    has_models: bool


def backup(settings: Settings, file: Path) -> Copied:
    """Write database, models and the own broker's log to FILE, while the instance runs; neither keys nor settings.

    Raises:
        BackupError: there is nothing to back up, or FILE is there already.
        sqlite3.Error: the database cannot be read.
    """
    database = database_path(settings.database_url)
    if not database.exists():
        raise BackupError(f"there is no database {database}; run `meterwatch up` first, or set METERWATCH_RUN_DIR")
    if file.exists():
        raise BackupError(f"{file} is there already; give another name")
    hashes: dict[str, str] = {}
    part = file.with_name(f"{file.name}.part")
    with ExitStack() as stack:
        stack.callback(part.unlink, missing_ok=True)
        work = Path(stack.enter_context(TemporaryDirectory(prefix=f"{file.name}.", dir=file.parent)))
        tar = stack.enter_context(tarfile.open(part, "x"))
        readings = _database(database, work / DATABASE)
        _put(tar, work / DATABASE, DATABASE, hashes)
        (work / DATABASE).unlink()  # its space is wanted
        registry = models.database(settings)
        if registry.exists():
            _vacuumed(registry, work / REGISTRY)
            _put(tar, work / REGISTRY, REGISTRY, hashes)
            _tree(tar, registry.parent / ARTIFACTS, ARTIFACTS, hashes)
        _tree(tar, settings.run_dir / "kafka" / "data", f"{BROKER}/data", hashes)
        told = json.dumps({"application_id": APPLICATION_ID, "sha256": hashes}).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size = len(told)
        tar.addfile(info, BytesIO(told))
        tar.close()
        _on_disk(part)
        part.rename(file)
    has = {PurePosixPath(name).parts[0] for name in hashes}
    return Copied(len(hashes), file.stat().st_size, readings, BROKER in has, REGISTRY in has)


def restore(settings: Settings, file: Path) -> list[Path]:
    """Put a backup in the place of an instance that is not there; answers what was made.

    A registry that already has every version of the backup stays as it is. All is checked before anything is in place.

    Raises:
        BackupError: FILE is no whole backup, or something stands where it would go.
        InstanceError: a part of the instance runs.
    """
    instance.check_stopped(settings)
    if found := instance.contents(settings):
        raise BackupError(f"{found[0]} is there already; `meterwatch reset` removes it, or set METERWATCH_RUN_DIR")
    registry = models.database(settings)
    places = {
        BROKER: settings.run_dir / "kafka",
        ARTIFACTS: registry.parent / ARTIFACTS,
        REGISTRY: registry,
        DATABASE: database_path(settings.database_url),  # last: what has a database has everything
    }
    parts = {name: place.with_name(f"{place.name}.part") for name, place in places.items()}
    try:
        _unpack(file, parts)
        if registry.exists():
            _check_same(parts.pop(REGISTRY), registry)
            _remove(parts.pop(ARTIFACTS))
        with closing(sqlite3.connect(parts[DATABASE])) as db, db:
            outbox.restored(db)
        made = [name for name in places if name in parts and parts[name].exists()]
        for name in made:
            if places[name].exists():
                raise BackupError(f"{places[name]} is there already; move it away")
        for name in made:
            parts[name].rename(places[name])
        return [places[name] for name in made]
    finally:
        for place in places.values():
            _remove(place.with_name(f"{place.name}.part"))


def _database(source: Path, to: Path) -> int:
    """Copy the database as it stands at one moment; its readings."""
    _vacuumed(source, to)
    with closing(sqlite3.connect(to)) as db:
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise BackupError(f"{source} is not a meterwatch database; set METERWATCH_DATABASE_URL to another file")
        return int(db.execute("SELECT count(*) FROM power_data").fetchone()[0])


def _vacuumed(source: Path, to: Path) -> None:
    """A copy from one read transaction: whoever writes meanwhile is not held up."""
    with models.reading(source) as db:
        db.execute("VACUUM INTO ?", (str(to),))


def _tree(tar: tarfile.TarFile, directory: Path, name: str, hashes: dict[str, str]) -> None:
    """Everything below a directory, checkpoints before logs and the metadata of all topics last."""
    found = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    found = [path for path in found if path.suffix not in LEFT_OUT and path.name not in LEFT_OUT]
    for path in sorted(found, key=lambda path: (METADATA in path.parts, len(path.parts), path)):
        with suppress(FileNotFoundError):  # Kafka threw it away meanwhile, as it does with what it has a newer one of
            _put(tar, path, f"{name}/{path.relative_to(directory).as_posix()}", hashes)


def _put(tar: tarfile.TarFile, path: Path, name: str, hashes: dict[str, str]) -> None:
    """A file, as long as it is now: what is written to its end meanwhile comes with the next backup."""
    with path.open("rb") as file:
        info = tarfile.TarInfo(name)
        info.size, info.mtime = os.fstat(file.fileno()).st_size, int(path.stat().st_mtime)
        reader = _Hashed(file)
        tar.addfile(info, cast("IO[bytes]", reader))
    hashes[name] = reader.hash.hexdigest()


def _unpack(file: Path, parts: dict[str, Path]) -> None:
    """Every member below the path of its kind, and the hashes proved."""
    found: dict[str, str] = {}
    told: dict[str, object] = {}
    try:
        with tarfile.open(file, "r:") as tar:
            for info, content in _members(tar):
                root, *below = PurePosixPath(info.name).parts
                if info.name == MANIFEST:
                    told = json.loads(content.read())
                elif root in parts and ".." not in below:
                    found[info.name] = _write(content, parts[root].joinpath(*below))
                else:
                    raise BackupError(f"{file} is no backup of meterwatch: it holds {info.name!r}")
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise BackupError(f"{file} is no whole backup of meterwatch ({error}); take another one") from error
    if not told or told.get("sha256") != found:
        what = "was not written to its end" if not told else "was changed since it was written"
        raise BackupError(f"{file} {what}; nothing was restored: take another backup")


def _members(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    for info in tar:
        content = tar.extractfile(info) if info.isfile() and not info.name.startswith("/") else None
        if content is None:
            raise tarfile.ReadError(f"{info.name!r} is no file")
        yield info, content


def _write(content: IO[bytes], to: Path) -> str:
    """Copy to the disk; the content's hash."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with to.open("xb") as out:
        reader = _Hashed(content)
        shutil.copyfileobj(reader, out, BLOCK)
        out.flush()
        os.fsync(out.fileno())
    return reader.hash.hexdigest()


def _check_same(copied: Path, registry: Path) -> None:
    """Prove that a registry has every version that the verdicts name, by the hash of its bundle."""
    if not copied.exists():
        return
    sql = "SELECT name, version, value FROM model_version_tags WHERE key = ?"
    with models.reading(copied) as old, models.reading(registry) as new:
        before, now = (set(db.execute(sql, (models.BUNDLE_SHA256,))) for db in (old, new))
    if lacking := sorted(before - now):
        name, version, _ = lacking[0]
        raise BackupError(
            f"the registry {registry} is another one: it lacks version {version} of {name}; move it away, "
            "or set METERWATCH_MLFLOW_TRACKING_URI to a new place"
        )
    copied.unlink()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _on_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


class _Hashed:
    """A file that is read once, and its hash."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self.hash.update(block)
        return block
