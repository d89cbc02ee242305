"""A backup: whole or not at all, and never over something."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tarfile
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from meterwatch.backup import BackupError, Copied, backup, restore
from meterwatch.instance import InstanceError
from meterwatch.processes import registered
from meterwatch.settings import Settings
from meterwatch.storage.migrate import migrate

LOG = Path("kafka/data/first-0/00000000000000000000.log")
TAGS = "CREATE TABLE model_version_tags (name TEXT, version INTEGER, key TEXT, value TEXT)"


def instance(directory: Path, sha256: str = "a1") -> Settings:
    """Settings of an instance with a reading, a broker's log and a registry."""
    found = settings_in(directory)
    migrate(directory / "meterwatch.db")
    with closing(sqlite3.connect(directory / "meterwatch.db")) as db, db:
        db.execute(
            "INSERT INTO power_data (meter_id, at, global_active_power, partition, record_offset)"
            " VALUES ('m', 60, 1.5, 0, 0)"
        )
    (directory / LOG).parent.mkdir(parents=True)
    (directory / LOG).write_bytes(b"records")
    (directory / LOG).with_suffix(".index").write_bytes(b"\0" * 100)
    (directory / "kafka/data/.kafka_cleanshutdown").touch()
    (directory / "registry/artifacts/m-1").mkdir(parents=True)
    (directory / "registry/artifacts/m-1/manifest.json").write_text("{}")
    registry(directory / "registry/mlflow.db", sha256)
    return found


def settings_in(directory: Path) -> Settings:
    return Settings(run_dir=directory, mlflow_tracking_uri=f"sqlite:///{directory}/registry/mlflow.db")


def registry(path: Path, sha256: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(TAGS)
        db.execute("INSERT INTO model_version_tags VALUES ('meterwatch', 1, 'bundle_sha256', ?)", (sha256,))


def files(directory: Path) -> set[str]:
    """Every file by its path below a directory."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_what_was_backed_up_is_restored(tmp_path: Path) -> None:
    copied = backup(instance(tmp_path / "a"), tmp_path / "b.tar")
    assert copied == Copied(4, (tmp_path / "b.tar").stat().st_size, 1, has_broker=True, has_models=True)
    restore(settings_in(tmp_path / "b"), tmp_path / "b.tar")
    with closing(sqlite3.connect(tmp_path / "b/meterwatch.db")) as db:
        assert db.execute("SELECT meter_id, at, global_active_power FROM power_data").fetchall() == [("m", 60, 1.5)]
    assert (tmp_path / "b" / LOG).read_bytes() == b"records"
    derived = {str(LOG.with_suffix(".index")), "kafka/data/.kafka_cleanshutdown"}
    derived |= {"meterwatch.db-wal", "meterwatch.db-shm"}
    assert files(tmp_path / "b") == files(tmp_path / "a") - derived
    assert files(tmp_path) == {f"{name}/{path}" for name in "ab" for path in files(tmp_path / name)} | {"b.tar"}


def test_a_writer_is_not_held_up_and_half_of_its_work_is_not_copied(tmp_path: Path) -> None:
    found = instance(tmp_path / "a")
    with closing(sqlite3.connect(tmp_path / "a/meterwatch.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM power_data")
        assert backup(found, tmp_path / "b.tar").readings == 1
        writer.execute("COMMIT")


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("taken")
    backup(instance(directory / "a"), directory / "b.tar")
    return (directory / "b.tar").read_bytes()


@given_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 0.9999), changed=st.sampled_from([b"", b"?", b"cut"]))
def test_a_cut_or_changed_file_restores_nothing(taken: bytes, tmp_path: Path, where: float, changed: bytes) -> None:
    """Padding and what tar says of a file's owner may be anything; then all is restored as it was."""
    place = int(where * len(taken))
    changed = taken[:place] if changed == b"cut" else taken[:place] + changed + taken[place + 1 :]
    (tmp_path / "b.tar").write_bytes(changed)
    shutil.rmtree(tmp_path / "b", ignore_errors=True)
    with suppress(BackupError):
        restore(settings_in(tmp_path / "b"), tmp_path / "b.tar")
    found = files(tmp_path / "b")
    assert not found or (tmp_path / "b" / LOG).read_bytes() == b"records"
    assert len(found) in {0, 4}


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "broker/../../../outside", "database/../../outside"])
def test_nothing_is_written_elsewhere(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(name), BytesIO())
    with pytest.raises(BackupError):
        restore(settings_in(tmp_path / "b"), tmp_path / "b.tar")
    assert files(tmp_path) == {"b.tar"}


def test_what_is_there_stays(tmp_path: Path) -> None:
    found = instance(tmp_path / "a")
    file = tmp_path / "b.tar"
    backup(found, file)
    with pytest.raises(BackupError, match="is there already; give another name"):
        backup(found, file)
    with pytest.raises(BackupError, match="`meterwatch reset`"):
        restore(found, file)
    with registered(found, "stream"), pytest.raises(InstanceError, match=rf"stream \({os.getpid()}\)"):
        restore(found, file)


def test_a_registry_with_the_same_versions_stays_and_another_one_is_named(tmp_path: Path) -> None:
    backup(instance(tmp_path / "a"), tmp_path / "b.tar")
    registry(tmp_path / "same/registry/mlflow.db", "a1")
    stays = (tmp_path / "same/registry/mlflow.db").stat()
    restore(settings_in(tmp_path / "same"), tmp_path / "b.tar")
    assert (tmp_path / "same/registry/mlflow.db").stat().st_ino == stays.st_ino
    registry(tmp_path / "other/registry/mlflow.db", "b2")
    with pytest.raises(BackupError, match="lacks version 1 of meterwatch; move it away"):
        restore(settings_in(tmp_path / "other"), tmp_path / "b.tar")
    assert files(tmp_path / "other") == {"registry/mlflow.db"}


def test_there_has_to_be_something(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="run `meterwatch up` first"):
        backup(settings_in(tmp_path), tmp_path / "b.tar")
    assert files(tmp_path) == set()
