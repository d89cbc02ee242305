"""A lean Spark session: one driver, no page, no shuffle."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING

from py4j.protocol import Py4JError
from pyspark import SparkContext
from pyspark.sql import SparkSession

if TYPE_CHECKING:
    from collections.abc import Iterable

END_SECONDS = 5.0
DRIVER_MEMORY = "1g"
# Spark only carries records: code of the first compiler tier does that as fast, and is made with less than half of the
# work. The parallel collector has no threads of its own that compete with two cores of work.
JAVA_OPTIONS = "-XX:+UseParallelGC -XX:TieredStopAtLevel=1 -Dlog4j2.level=error"


def spark_session(master: str, work_dir: Path, jars: Iterable[Path] = ()) -> SparkSession:
    """Start Spark (a Java process of its own, which ends with this one).

    Args:
        master: the Spark master, `local[*]` for all cores of this machine.
        work_dir: where Spark keeps temporary files.
        jars: the Kafka connector and what it needs.
    """
    options = {
        "spark.driver.memory": DRIVER_MEMORY,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.extraJavaOptions": JAVA_OPTIONS,
        "spark.jars": ",".join(str(jar) for jar in jars),
        "spark.local.dir": str(work_dir.absolute()),
        "spark.sql.warehouse.dir": str((work_dir / "warehouse").absolute()),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.ansi.enabled": "false",  # a field that cannot be cast is null, and null is given a reason
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "65536",
        "spark.sql.streaming.minBatchesToRetain": "2",
        "spark.cleaner.periodicGC.interval": "10min",
    }
    builder = SparkSession.builder.appName("meterwatch").master(master)
    for name, value in options.items():
        builder = builder.config(name, value)
    # A killed Java is told in a line, not with call stacks; py4j writes some of them to the root of all loggers.
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
    logging.getLogger().addFilter(_is_not_py4j)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def _is_not_py4j(record: logging.LogRecord) -> bool:
    return "py4j" not in Path(record.pathname).parts


def kill() -> None:
    """End Spark's Java process at once, if there is one."""
    if (gateway := SparkContext._gateway) is not None and gateway.proc is not None:  # noqa: SLF001
        gateway.proc.kill()


def end(session: SparkSession) -> None:
    """End Spark and wait for its Java process: nothing of it outlives the call."""
    with suppress(Py4JError, OSError):  # it is gone already
        session.stop()
    if (gateway := SparkContext._gateway) is None or (java := gateway.proc) is None:  # noqa: SLF001
        return
    java.stdin.close()
    try:
        java.wait(END_SECONDS)
    except TimeoutExpired:
        java.kill()
        java.wait()
