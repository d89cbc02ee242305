"""The jars of the broker and of Spark's Kafka connector, fetched once from Maven's public repository.

A `.lock` file beside this module (jgo's lock format) names each jar with its version and hash: nothing is resolved at
run time, and a jar that is not the locked one is never run. `python -m streaming.jars` writes the locks anew.
"""

from __future__ import annotations

import fcntl
import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from meterwatch.certificates import trust_the_system
from streaming.errors import StreamError

if TYPE_CHECKING:
    from jgo.env import LockedDependency
    from jgo.maven import MavenContext

HERE = Path(__file__).parent
BROKER, CONNECTOR = "broker", "connector"
# The broker's own logging has no binding to SLF4J: the simple one writes to standard error.
ENDPOINTS = {
    BROKER: "org.apache.kafka:kafka_2.13:4.4.0+org.slf4j:slf4j-simple:1.7.36",
    CONNECTOR: "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0",
}
# Of the connector's dependencies pyspark brings all but these.
BESIDE_PYSPARK = ("spark-sql-kafka-0-10_2.13", "spark-token-provider-kafka-0-10_2.13", "kafka-clients", "commons-pool2")
AT_ONCE = 8  # downloads
ATTEMPTS = 2


def jars(name: str) -> list[Path]:
    """The locked jars of `BROKER` or `CONNECTOR`, fetched where they are not in Maven's local repository yet.

    Raises:
        StreamError: a jar cannot be fetched, or is not the locked one.
    """
    from jgo.env import LockFile
    from jgo.maven import MavenContext

    locked = LockFile.load(HERE / f"{name}.lock").dependencies
    trust_the_system()
    context = MavenContext(timeout=30)
    context.repo_cache.mkdir(parents=True, exist_ok=True)
    with (context.repo_cache / ".meterwatch-lock").open("w") as lock, ThreadPoolExecutor(AT_ONCE) as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)  # jgo writes in place: one process at a time
        missing = [one for one in locked if not _path(context, one).exists()]
        if missing:
            print(f"{name}: fetching {len(missing)} jars (once on this machine)", flush=True)
        return list(pool.map(partial(_proven, context), locked))


def _path(context: MavenContext, jar: LockedDependency) -> Path:
    file = f"{jar.artifactId}-{jar.version}.jar"
    path: Path = context.repo_cache.joinpath(*jar.groupId.split("."), jar.artifactId, jar.version, file)
    return path


def _proven(context: MavenContext, jar: LockedDependency) -> Path:
    """The jar's file with the locked hash; one that was cut short by a kill is fetched again."""
    path = _path(context, jar)
    for _ in range(ATTEMPTS):
        try:
            found = Path(context.project(jar.groupId, jar.artifactId).at_version(jar.version).artifact().resolve())
        except (OSError, RuntimeError) as error:
            path.unlink(missing_ok=True)
            raise StreamError(
                f"{path.name} cannot be fetched from Maven's repository ({type(error).__name__}); "
                "check the network and the space on the disk, and start again"
            ) from error
        if hashlib.sha256(found.read_bytes()).hexdigest() == jar.sha256:
            return found
        found.unlink()
    raise StreamError(f"{path.name} as fetched is not the locked one; start again, or ask who changed the repository")


def lock() -> None:
    """Resolve the endpoints and write what came out."""
    import tempfile

    import jgo
    from jgo.env import LockFile

    for name, endpoint in ENDPOINTS.items():
        with tempfile.TemporaryDirectory() as cache:
            resolved = jgo.build(endpoint, cache_dir=Path(cache)).lockfile
        found = resolved.dependencies if resolved is not None else []
        kept = [jar for jar in found if name != CONNECTOR or jar.artifactId in BESIDE_PYSPARK]
        for jar in kept:  # what jgo learned of Java's modules is of no use on a class path
            jar.is_modular, jar.module_name, jar.placement, jar.jar_type = False, None, None, None
        kept.sort(key=lambda jar: (jar.groupId, jar.artifactId))
        LockFile(kept, environment_name=name).save(HERE / f"{name}.lock")
        print(f"{name}: {len(kept)} jars locked")


if __name__ == "__main__":
    lock()
