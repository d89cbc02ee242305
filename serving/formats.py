"""Content negotiation: which form an answer takes, and rows in it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
from pyarrow import csv
from starlette.responses import Response

from serving import arrow
from serving.buffers import numbers, strings
from serving.problems import Problem
from serving.times import texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

JSON, CSV, ARROW = "application/json", "text/csv", arrow.MEDIA_TYPE
TIMES = ("at", "start_at", "end_at", "peak_at")
TEXTS = ("meter_id", "event_id", "status", "reason", "model_version", "kind", "label", "note")


def wanted(accept: str | None, offered: Sequence[str], default: str) -> str:
    """The offered media type that an Accept header likes best.

    Raises:
        Problem: 406, it takes none of them.
    """
    if not accept:
        return default
    best, liked = "", 0.0
    for part in accept.split(","):
        name, *options = (piece.strip().lower() for piece in part.split(";"))
        weight = next((_weight(option[2:]) for option in options if option.startswith("q=")), 1.0)
        matches = [kind for kind in (default, *offered) if _matches(name, kind)]
        if matches and weight > liked:
            best, liked = matches[0], weight
    if not best:
        raise Problem(406, f"This is answered as {', '.join(offered)}.")
    return best


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _matches(pattern: str, kind: str) -> bool:
    return pattern in ("*/*", kind) or (pattern.endswith("/*") and kind.startswith(pattern[:-1]))


def rows(
    request: Request,
    name: str,
    columns: dict[str, list[Any]],
    *,
    following: str | None = None,
    said: dict[str, Any] | None = None,
) -> Response:
    """Rows as JSON (`{name: […], "next": …}`), CSV or an Arrow stream, as the caller likes.

    Args:
        request: whose Accept header counts.
        name: of the list in JSON.
        columns: the rows as columns; times as unix seconds, None where there is none.
        following: the cursor of the next page; also sent as a Link header, since CSV has no place for it.
        said: further members in JSON.
    """
    kind = wanted(request.headers.get("accept"), (JSON, CSV, ARROW), JSON)
    headers = {"Vary": "Accept"}
    if following is not None:
        headers["Link"] = f'<{request.url.include_query_params(cursor=following)}>; rel="next"'
    if kind == JSON:
        body = {**(said or {}), name: objects(columns), "next": following}
        return Response(orjson.dumps(body), media_type=JSON, headers=headers)
    if kind == ARROW:
        return Response(arrow.stream(_table(columns)), media_type=ARROW, headers=headers)
    return Response(_csv(columns), media_type=f"{CSV}; charset=utf-8", headers=headers)


def objects(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Columns as JSON objects, times as text."""
    told = {name: _told(values) if name in TIMES else values for name, values in columns.items()}
    if "anomalous" in told:
        told["anomalous"] = [None if value is None else bool(value) for value in told["anomalous"]]
    return [dict(zip(told, row, strict=True)) for row in zip(*told.values(), strict=True)]


def _told(at: list[int | None]) -> list[str | None]:
    written = iter(texts(np.array([second for second in at if second is not None], np.int64)))
    return [None if second is None else next(written) for second in at]


def _table(columns: dict[str, list[Any]]) -> pa.Table:
    return pa.Table.from_arrays([_column(*item) for item in columns.items()], names=list(columns))


def _column(name: str, values: list[Any]) -> pa.Array:
    if name in TEXTS:
        return strings(values)
    missing = np.array([value is None for value in values], np.bool_)
    filled = [value or 0 for value in values]
    if name in TIMES:
        return numbers(np.array(filled, np.int64), pa.timestamp("s", tz="UTC"), missing)
    if name == "anomalous":
        return numbers(np.array(filled, np.bool_), pa.bool_(), missing)
    return numbers(np.array(filled, np.float64), pa.float64(), missing)


def _csv(columns: dict[str, list[Any]]) -> bytes:
    table = _table(columns)
    for k, name in enumerate(columns):
        if name in TIMES:
            table = table.set_column(k, name, strings(_told(columns[name])))
    sink = io.BytesIO()
    csv.write_csv(table, sink)
    return sink.getvalue()
