"""What integration tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """One Spark session a test run, as the stream starts it."""
    from streaming.session import spark_session

    session = spark_session("local[2]", tmp_path_factory.mktemp("spark"))
    yield session
    session.stop()
