"""The service's routes, with a model that was really trained and a database that was really written."""

from __future__ import annotations

import io
import json
import math
from base64 import b64decode
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from meterwatch.detection.readings import CHANNELS
from meterwatch.settings import Settings
from serving import arrow, keys
from serving.app import create_app
from serving.guard import TEXT_LIMIT
from tests.households import START, household
from tests.served import Found
from tests.stored import event, store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ARROW = "application/vnd.apache.arrow.stream"
PROBLEM = "application/problem+json"
AT, VALUES = household(days=2, seed=11)
DB_DAYS = 3


def moment(at: int) -> str:
    return str(np.datetime64(at, "s")) + "Z"


def reading(k: int) -> dict[str, Any]:
    values = {name: float(VALUES[c, k]) for c, name in enumerate(CHANNELS)}
    return {"at": moment(int(AT[k])), **values}


def asked(meter_id: str, ks: range | list[int], last: dict[str, Any] | None = None) -> dict[str, Any]:
    kept = {"state": last["state"], "profile": last["profile"]} if last else {}
    return {"meter_id": meter_id, **kept, "readings": [reading(k) for k in ks]}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    run_dir = tmp_path_factory.mktemp("service")
    at, channels = household(days=DB_DAYS, seed=2)
    told = [event(k, "h", START + 3600 * k, START + 3600 * k + 600) for k in range(5)]
    store(run_dir / "meterwatch.db", "h", at, channels, anomalous=np.arange(len(at)) % 1000 == 0, events=told)
    return Settings(run_dir=run_dir, kafka_bootstrap_servers="127.0.0.1:1")


@pytest.fixture(scope="module")
def service(place: Settings, bundle: Path) -> Iterator[TestClient]:
    with TestClient(
        create_app(place, find_champion=lambda: Found("7", bundle)), raise_server_exceptions=True
    ) as client:
        yield client


def scored(service: TestClient, *meters: dict[str, Any]) -> list[dict[str, Any]]:
    response = service.post("/v1/score", json={"meters": list(meters)})
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["meters"]
    return found


@given(cuts=st.lists(st.integers(1, 1999), max_size=6, unique=True))
@settings(max_examples=8, deadline=None)
def test_any_cut_gives_the_same_bits(service: TestClient, cuts: list[int]) -> None:
    (whole,) = scored(service, asked("m", range(2000)))
    verdicts, last, profile = [], None, None
    bounds = [0, *sorted(cuts), 2000]
    for begin, end in pairwise(bounds):
        (last,) = scored(service, asked("m", range(begin, end), last))
        profile = last["profile"] = last["profile"] or profile
        verdicts += last["verdicts"]
    assert verdicts == whole["verdicts"]
    assert last is not None
    assert (last["state"], last["profile"]) == (whole["state"], whole["profile"])


AT_TWICE = pa.StructArray.from_arrays([pa.array([3], pa.timestamp("s"))] * 2, names=["at", "at"])
FAR = pa.array([[{"at": 2**62}]], pa.list_(pa.struct([("at", pa.timestamp("us", "UTC"))])))  # the year 148108
TWICE = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), AT_TWICE)


def table(meter_ids: list[str], ks: range) -> pa.Table:
    structs = [[{"at": int(AT[k]) * 10**6, **{n: VALUES[c, k] for c, n in enumerate(CHANNELS)}} for k in ks]]
    fields = [("at", pa.timestamp("us", tz="UTC")), *((name, pa.float64()) for name in CHANNELS)]
    kind = pa.list_(pa.struct(fields))
    nothing = pa.nulls(len(meter_ids), pa.binary())
    lists = pa.array(structs * len(meter_ids), kind)
    return pa.table({"meter_id": meter_ids, "state": nothing, "profile": nothing, "readings": lists})


def as_stream(content: pa.Table, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, content.schema, options=options) as writer:
        writer.write_table(content)
    return sink.getvalue()


def test_json_and_arrow_give_the_same_bits(service: TestClient) -> None:
    ks = range(1600)
    told = scored(service, asked("m", ks), asked("n", ks))
    response = service.post("/v1/score", content=as_stream(table(["m", "n"], ks)), headers={"Content-Type": ARROW})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == ARROW
    found = pa.ipc.open_stream(response.content).read_all()
    assert found.schema.metadata[b"model_version"] == b"7"
    for meter, row in zip(told, found.to_pylist(), strict=True):
        assert row["state"] == b64decode(meter["state"])
        assert row["meter_id"] == meter["meter_id"]
        for one, other in zip(meter["verdicts"], row["verdicts"], strict=True):
            assert one == {**other, "at": other["at"].strftime("%Y-%m-%dT%H:%M:%SZ")}
    statuses = {verdict["status"] for verdict in told[0]["verdicts"]}
    assert {"warming_up", "scored"} <= statuses


def test_each_side_may_be_json_or_arrow(service: TestClient) -> None:
    body = as_stream(table(["m"], range(3)))
    headers = {"Content-Type": ARROW, "Accept": "application/json"}
    answer = service.post("/v1/score", content=body, headers=headers).json()
    assert answer["meters"] == scored(service, asked("m", range(3)))


def problem(response: Any, *codes: int) -> dict[str, Any]:
    assert response.status_code in codes, response.text
    assert response.headers["content-type"] == PROBLEM
    body: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail"} <= set(body)
    assert body["status"] == response.status_code
    assert "Traceback" not in response.text
    return body


def one_reading(**values: object) -> dict[str, Any]:
    return {"meters": [{"meter_id": "m", "readings": [{"at": "2009-01-01T00:00:00Z", **values}]}]}


NUMBER = "meters[0].readings[0].active_power_kw"
MOMENT = "meters[0].readings[0].at"


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ("", 400, "body"),
        ("{", 400, "body"),
        ("[" * 50_000, 400, "body"),
        (b"\xff\xfe", 400, "body"),
        ("[]", 422, "body"),
        ('{"meters": 3}', 422, "meters"),
        ('{"meters": [{"meter_id": "m", "state": "AAAA", "readings": []}]}', 422, "meters[0].state"),
        ('{"meters": [{"meter_id": "m", "state": "A!", "readings": []}]}', 422, "meters[0].state"),
        ('{"meters": [{"meter_id": "m", "profile": "AAAA", "readings": []}]}', 422, "meters[0].profile"),
        ('{"meters": [{"meter_id": "", "readings": []}]}', 422, "meters[0].meter_id"),
        ('{"meters": [{"meter_id": "\\ud800", "readings": []}]}', 400, "body"),
        (json.dumps({"meters": [{"meter_id": "m", "readings": []}] * 2}), 422, "meters[1].meter_id"),
        (json.dumps(one_reading(at="x")), 422, MOMENT),
        (json.dumps(one_reading(at="1230768000")), 422, MOMENT),
        (json.dumps(one_reading(at=1_230_768_000)), 422, MOMENT),
        (json.dumps(one_reading(at="2007-02-31T00:00:00Z")), 422, MOMENT),
        (json.dumps(one_reading(at="0001-01-01T00:00:00")), 422, MOMENT),
        (json.dumps(one_reading(active_power_kw="1")), 422, NUMBER),
        (json.dumps(one_reading(active_power_kw=True)), 422, NUMBER),
        (json.dumps(one_reading(active_power_kw=math.nan)), 422, NUMBER),
        (json.dumps(one_reading(active_power_kw=math.inf)), 422, NUMBER),
        (json.dumps(one_reading(active_power_kw=0)).replace(": 0", ": " + "9" * 400), 422, NUMBER),
        (json.dumps(one_reading(power=1)), 422, "meters[0].readings[0].power"),
    ],
)
def test_a_bad_body_is_named_with_its_path(service: TestClient, body: str | bytes, code: int, path: str) -> None:
    found = problem(service.post("/v1/score", content=body, headers={"Content-Type": "application/json"}), code)
    assert found["errors"][0]["path"] == path


def test_a_status_that_says_it_all_has_no_reason(service: TestClient) -> None:
    (meter,) = scored(service, asked("m", [5, 4, 5]))
    told = [(one["status"], one["reason"]) for one in meter["verdicts"]]
    assert told[1:] == [("late", None), ("duplicate", None)]


def test_what_is_unusual_but_right(service: TestClient) -> None:
    assert scored(service) == []
    (meter,) = scored(service, {"meter_id": "m", "readings": []})
    assert meter["verdicts"] == []
    body = one_reading(at="9999-12-31T23:59:59Z", active_power_kw=-5.5)["meters"][0]
    (meter,) = scored(service, body)
    assert meter["verdicts"][0]["status"] == "warming_up"
    twice = [{"at": moment(START + second), "active_power_kw": 1.0} for second in (60, 0, 60)]
    (meter,) = scored(service, {"meter_id": "m", "readings": twice})
    assert [verdict["status"] for verdict in meter["verdicts"]] == ["warming_up", "late", "duplicate"]


def test_another_meters_state_is_refused(service: TestClient) -> None:
    (meter,) = scored(service, asked("m", range(5)))
    found = problem(service.post("/v1/score", json={"meters": [asked("x", range(5, 6), meter)]}), 422)
    assert found["errors"][0]["path"] == "meters[0].state"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", 400),
        (b"garbage", 400),
        (as_stream(table(["m"], range(3)))[:-40], 400),
        (as_stream(table(["m"], range(3)).drop_columns(["readings"])), 422),
        (as_stream(pa.table({"meter_id": ["m"], "readings": ["x"]})), 422),
        (as_stream(pa.table({"meter_id": [1], "readings": [[{"at": 3}]]})), 422),
        (as_stream(pa.table({"meter_id": ["m"], "readings": [[{"at": 3}]]})), 422),
        (as_stream(pa.table({"meter_id": [None], "readings": table(["m"], range(1))["readings"]})), 422),
        (as_stream(table(["m"], range(1)).append_column("meter_id", pa.array(["m"]))), 422),
        (as_stream(pa.table([["m"], FAR], names=["meter_id", "readings"])), 422),
        (as_stream(pa.table([["m"], TWICE], names=["meter_id", "readings"])), 422),
    ],
)
def test_a_bad_table_is_refused(service: TestClient, content: bytes, code: int) -> None:
    problem(service.post("/v1/score", content=content, headers={"Content-Type": ARROW}), code)


def without_compression(content: bytes) -> bytes:
    """The stream with an empty slot where its record batch says that it is compressed."""
    told = next(m for m in pa.ipc.MessageReader.open_stream(content) if m.type == "record batch").metadata.to_pybytes()
    batch = arrow._place(told, arrow._root(told), 2)
    slot = batch - int.from_bytes(told[batch : batch + 4], "little", signed=True) + 4 + 2 * 3
    return content.replace(told, told[:slot] + bytes(2) + told[slot + 2 :])


def hostile(kind: str) -> bytes:
    """A small stream that would take gigabytes, or minutes, to read."""
    n, names = 10_000, ["meter_id", "readings"]
    ids, lists = pa.array([f"m{k}" for k in range(n)]), pa.array([[]] * n, FAR.type)
    if kind == "compressed":
        numbered = pa.array([f"m{k}" for k in range(3)]).dictionary_encode()
        return as_stream(pa.table([numbered, lists[:3]], names=names), compression="zstd")
    if kind == "compressed of old":  # by the metadata of Arrow 0.17, and not by the batch's own slot
        states = pa.array([b"x" * 10**7])
        (batch,) = pa.table([ids[:1], lists[:1], states], names=[*names, "state"]).to_batches()
        sink, version = io.BytesIO(), pa.ipc.MetadataVersion.V4
        options = pa.ipc.IpcWriteOptions(compression="zstd", metadata_version=version)
        with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
            writer.write_batch(batch, custom_metadata={"ARROW:experimental_compression": "zstd"})
        return without_compression(sink.getvalue())
    if kind == "nothing":
        return as_stream(pa.table([pa.nulls(10**9)] * 2, names=names))
    if kind == "shared":
        states = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array([b"x" * 10**6]))
    else:
        view = np.tile(np.array([10**6, 0x78787878, 0, 0], np.int32), (n, 1))  # length, beginning, buffer, place
        valid = np.ones(n, np.bool_)
        if kind == "viewed, null":
            view[n // 2 :, 0], valid[n // 2 :] = -2 * 10**6, False
        bits = pa.py_buffer(np.packbits(valid, bitorder="little"))
        states = pa.Array.from_buffers(pa.binary_view(), n, [bits, pa.py_buffer(view), pa.py_buffer(b"x" * 10**6)])
        if kind == "viewed, coded":
            states = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), states)
    return as_stream(pa.table([ids, lists, states], names=[*names, "state"]))


@pytest.mark.parametrize(
    ("kind", "code", "fact"),
    [
        ("compressed", 415, "without compression"),
        ("compressed of old", 415, "without compression"),
        ("nothing", 413, ""),
        ("shared", 422, "written out"),
        ("viewed", 422, "no views"),
        ("viewed, null", 422, "no views"),
        ("viewed, coded", 422, "no views"),
    ],
)
def test_a_small_table_does_not_become_a_large_one(service: TestClient, kind: str, code: int, fact: str) -> None:
    found = problem(service.post("/v1/score", content=hostile(kind), headers={"Content-Type": ARROW}), code)
    assert fact in found["detail"]


@pytest.mark.parametrize(
    "kind",
    [
        pa.string_view(),
        pa.list_(pa.struct([("at", pa.binary_view())])),
        pa.map_(pa.string(), pa.string_view()),
        pa.dictionary(pa.int8(), pa.string_view()),
        pa.run_end_encoded(pa.int32(), pa.binary_view()),
        pa.json_(pa.string_view()),
    ],
    ids=str,
)
def test_a_view_is_refused_wherever_it_is(service: TestClient, kind: pa.DataType) -> None:
    empty = pa.schema([("meter_id", pa.string()), ("more", kind)])
    sink = io.BytesIO()
    pa.ipc.new_stream(sink, empty).close()
    found = problem(service.post("/v1/score", content=sink.getvalue(), headers={"Content-Type": ARROW}), 422)
    assert found["errors"][0]["path"] == "more"


@given(place=st.integers(0, 2000), byte=st.integers(0, 255))
@settings(max_examples=80, deadline=None)
def test_a_damaged_table_harms_nobody(service: TestClient, place: int, byte: int) -> None:
    content = bytearray(as_stream(table(["m"], range(3))))
    content[place % len(content)] = byte
    response = service.post("/v1/score", content=bytes(content), headers={"Content-Type": ARROW})
    if response.status_code != 200:
        problem(response, 400, 413, 415, 422)


def test_too_much_is_refused_while_reading(service: TestClient) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(TEXT_LIMIT // 2**20 + 1):
            yield b" " * 2**20

    for route in ("/v1/readings", "/v1/score"):
        problem(service.post(route, content=endless(), headers={"Content-Type": "application/json"}), 413)
    problem(service.post("/v1/score", content=endless(), headers={"Content-Type": ARROW}), 400)  # may be larger
    problem(service.put("/v1/events/h-1/label", content=b" " * 2**21), 413)


def test_every_error_is_a_problem(service: TestClient) -> None:
    problem(service.get("/nothing/here"), 404)
    assert "POST" in service.get("/v1/score").headers["allow"]
    problem(service.get("/v1/score"), 405)
    problem(service.post("/v1/score", content="x", headers={"Content-Type": "text/plain"}), 415)
    problem(service.post("/v1/score", json={"meters": []}, headers={"Accept": "image/png"}), 406)
    problem(service.get("/v1/meters/nobody"), 404)
    problem(service.get("/v1/meters/h/readings?start=yesterday"), 422)
    problem(service.get("/v1/meters/h/readings?limit=0"), 422)
    problem(service.get("/v1/meters/h/readings?cursor=x"), 422)
    problem(service.get("/v1/events?cursor=x"), 422)
    problem(service.put("/v1/events/h-1/label", json={"label": "perhaps"}), 422)
    problem(service.put("/v1/events/nobody/label", json={"label": "real"}), 404)
    problem(service.post("/v1/models/99/promote"), 404)
    problem(service.post("/v1/score", json={"meters": []}, headers={"Sec-Fetch-Site": "cross-site"}), 403)


def test_stored_rows_come_back_in_pages_and_forms(service: TestClient) -> None:
    query = f"/v1/meters/h/readings?start={moment(START)}&end={moment(START + 600)}"
    whole = service.get(query).json()
    assert len(whole["readings"]) == 10
    assert whole["next"] is None
    first = service.get(query + "&limit=7")
    rest = service.get(first.links["next"]["url"]).json()
    assert first.json()["readings"] + rest["readings"] == whole["readings"]
    text = service.get(query, headers={"Accept": "text/csv"}).text.splitlines()
    assert text[0].startswith('"at","active_power_kw"')
    assert len(text) == 11
    arrow = pa.ipc.open_stream(service.get(query, headers={"Accept": ARROW}).content).read_all()
    assert arrow["active_power_kw"].to_pylist() == [row["active_power_kw"] for row in whole["readings"]]
    thinned = service.get("/v1/meters/h/verdicts?max_points=50").json()["verdicts"]
    assert sum(row["anomalous"] for row in thinned) == math.ceil(DB_DAYS * 1.44)
    assert len(thinned) < 60


def test_events_and_their_label(service: TestClient) -> None:
    first = service.get("/v1/events?limit=2")
    rest = service.get(first.links["next"]["url"]).json()["events"]
    assert [row["event_id"] for row in first.json()["events"] + rest[:1]] == ["h-4", "h-3", "h-2"]
    answer = service.put("/v1/events/h-2/label", json={"label": "real", "note": "oven"}).json()
    assert (answer["label"], answer["note"]) == ("real", "oven")
    (found,) = [row for row in service.get("/v1/meters/h/events").json()["events"] if row["event_id"] == "h-2"]
    assert found["label"] == "real"
    for _ in range(2):
        assert service.delete("/v1/events/h-2/label").json() == answer | {"label": None, "note": None}
    problem(service.delete("/v1/events/nobody/label"), 404)


def test_a_meter_its_explanation_and_the_original_routes(service: TestClient) -> None:
    meter = service.get("/v1/meters/h").json()
    assert (meter["readings"], meter["cadence_s"]) == (DB_DAYS * 1440, 60)
    assert meter["newest"]["at"] == meter["newest_at"] == moment(START + DB_DAYS * 86_400 - 60)
    told = service.get("/v1/meters/h/explain", params={"at": meter["newest_at"]}).json()
    assert told["verdict"]["status"] == "scored"
    assert told["lineage"]["model_version"] == "1"
    rows = service.get("/data?limit=5").json()
    assert [row["at"] for row in rows] == [moment(START + DB_DAYS * 86_400 - 60 * k) for k in range(1, 6)]
    assert "global_active_power" in rows[0]
    days = service.get("/daily_total").json()
    assert [day["date"] for day in days] == ["2009-01-01", "2009-01-02", "2009-01-03"]
    assert days[0]["moving_average"] is None


def test_readings_wait_for_the_broker(service: TestClient) -> None:
    body = {"meters": [{"meter_id": "m", "readings": [{"at": "x"}, {"at": moment(START), "voltage_v": "a"}, {}]}]}
    answer = service.post("/v1/readings", json=body)
    assert answer.status_code == 202
    told = [
        {"index": 0, "reason": "bad_time"},
        {"index": 1, "reason": "bad_number"},
        {"index": 2, "reason": "bad_fields"},
    ]
    assert answer.json() == {"accepted": 0, "rejected": told}
    keyed = {"headers": {"Idempotency-Key": "k", "Content-Type": "application/json"}}
    odd = json.dumps({"meters": [{"meter_id": "m", "readings": [{"at": "x", "voltage_v": 10**400}]}]})
    first, again = (service.post("/v1/readings", content=odd, **keyed) for _ in range(2))
    assert (first.status_code, first.json()) == (202, again.json())
    problem(service.post("/v1/readings", json=body, headers={"Idempotency-Key": "k"}), 422)
    body["meters"][0]["readings"].append(reading(0))
    away = service.post("/v1/readings", json=body)
    problem(away, 503)
    assert int(away.headers["retry-after"]) > 0


def test_metrics_documentation_and_pages(service: TestClient) -> None:
    scored(service, asked("m", range(3)))
    metrics = service.get("/metrics").text
    for name in (
        "meterwatch_readings_total{outcome=",
        "meterwatch_score_seconds_bucket",
        'model_info{version="7"} 1.0',
    ):
        assert name in metrics
    assert 'meterwatch_request_seconds_count{code="200",route="/v1/score"}' in metrics
    assert "nothing/here" not in metrics
    document = service.get("/openapi.json").json()
    body = document["paths"]["/v1/score"]["post"]["requestBody"]["content"]
    name = body["application/json"]["schema"]["$ref"].rpartition("/")[2]
    example = document["components"]["schemas"][name]["examples"][0]
    assert service.post("/v1/score", json=example).status_code == 200
    assert "<html" in service.get("/").text
    assert service.get("/").headers["x-content-type-options"] == "nosniff"


def test_without_a_model_it_is_not_ready(place: Settings) -> None:
    with TestClient(create_app(place, find_champion=lambda: None)) as client:
        assert client.get("/healthz").status_code == 200
        problem(client.get("/readyz"), 503)
        response = client.post("/v1/score", json={"meters": []})
        problem(response, 503)
        assert "retry-after" in response.headers


def test_a_bad_bundle_leaves_the_old_model(place: Settings, bundle: Path, tmp_path: Path) -> None:
    registry = [Found("1", bundle)]
    app = create_app(place, find_champion=lambda: registry[-1])
    with TestClient(app) as client:
        registry.append(Found("2", tmp_path))
        app.state.parts.champion.refresh()
        assert client.get("/readyz").json()["model_version"] == "1"
        registry.append(Found("3", bundle))
        app.state.parts.champion.refresh()
        assert client.get("/readyz").json()["model_version"] == "3"


def test_keys_and_roles(place: Settings, bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    reader, scorer = keys.add(path, "ada", "read"), keys.add(path, "app", "score")
    guarded = place.model_copy(update={"api_keys_file": path})
    with TestClient(create_app(guarded, find_champion=lambda: Found("1", bundle)), follow_redirects=False) as client:

        def code(method: str, url: str, key: str) -> int:
            return client.request(
                method, url, headers={"Authorization": f"Bearer {key}"}, json={"meters": []}
            ).status_code

        assert client.get("/readyz").status_code == 200
        problem(client.get("/v1/meters"), 401)
        assert (code("GET", "/v1/meters", reader), code("GET", "/v1/meters", reader + "x")) == (200, 401)
        assert (code("POST", "/v1/score", reader), code("POST", "/v1/score", scorer)) == (403, 200)
        assert code("POST", "/v1/models/rollback", scorer) == 403
        page = client.get("/", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/login?next=/")
        assert client.post("/login", data={"key": "wrong"}).status_code == 401
        entered = client.post("/login?next=//elsewhere", data={"key": reader})
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        assert "HttpOnly" in entered.headers["set-cookie"]
        assert client.get("/v1/meters").status_code == 200
        assert keys.revoke(path, reader.split("_")[1])
        assert client.get("/v1/meters").status_code == 401
    assert reader.rpartition("_")[2] not in path.read_text()
