"""The pages in a real browser, served by a real process from a real database."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from meterwatch.settings import Settings
from meterwatch.storage.models import versions
from serving.dashboard import theme
from tests.households import START, household
from tests.instances import PATIENCE, Instance, wait_for
from tests.stored import event, store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page

WIDTH, HEIGHT = {"desk": 1440, "phone": 390}, {"desk": 900, "phone": 844}
PAGES = {
    "/": ("Now", 1),
    "/meter": ("Meter", 5),
    "/events": ("Events", 0),
    "/overview": ("Overview", 6),
    "/models": ("Models", 0),
    "/health": ("Health", 0),
}
DAY, DAYS, CADENCE = 86_400, 40, 300
ODD = "cellar & <b>attic</b>"  # a meter
DRAWN = "#page[aria-busy=false]"
INK = {"desk": "rgb(28, 35, 43)", "phone": "rgb(228, 233, 238)"}  # of letters, on a light page and on a dark one


def put(
    instance: Instance,
    meter_id: str,
    *,
    day: int,
    days: int = 1,
    anomalous: slice = slice(0),
    events: list[dict[str, Any]] | None = None,
) -> None:
    """Commit days of readings."""
    at, channels = household(days=days, seed=day, cadence=CADENCE, start=START + day * DAY)
    odd = np.zeros(len(at), bool)
    odd[anomalous] = True
    store(instance.dir / "meterwatch.db", meter_id, at, channels, anomalous=odd, events=events)


@contextmanager
def served(instance: Instance, says: str = "judges") -> Iterator[None]:
    """The service, from when it has said so until the end of the block."""
    process = instance.spawn("serve")
    try:
        wait_for(f"the service to log '{says}'", lambda: says in log(instance))
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


def log(instance: Instance) -> str:
    """What the service has logged since it was started last."""
    return (instance.dir / "test-serve.log").read_text().rpartition("listening on")[2]


@pytest.fixture(scope="module")
def house(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance that serves forty days of one meter with an anomaly on the last, and a day of another."""
    instance = Instance(tmp_path_factory.mktemp("house"), registry)
    last = START + (DAYS - 1) * DAY
    told = [event(0, "home", START + 5 * DAY, START + 5 * DAY + 1800), event(1, "home", last + 36_000, last + 38_100)]
    put(instance, ODD, day=0)
    put(instance, "home", day=0, days=DAYS, anomalous=slice(-168, -160), events=told)
    with served(instance):
        yield instance
    assert instance.processes() == []


@pytest.fixture
def private(registry: str, tmp_path: Path) -> Instance:
    """An instance of its own, with nothing in it."""
    return Instance(tmp_path, registry)


@pytest.fixture(scope="module")
def screens(browser: Browser) -> Iterator[dict[str, BrowserContext]]:
    """A desk's and a phone's; kept, so that the pages' scripts are loaded once."""
    expect.set_options(timeout=1000 * PATIENCE)
    found = {
        name: browser.new_context(
            viewport={"width": WIDTH[name], "height": HEIGHT[name]},
            has_touch=phone,
            is_mobile=phone,
            color_scheme="dark" if phone else "light",
        )
        for name, phone in (("desk", False), ("phone", True))
    }
    for screen in found.values():
        screen.set_default_timeout(1000 * PATIENCE)
    yield found
    for screen in found.values():
        screen.close()


@pytest.fixture
def desk(screens: dict[str, BrowserContext]) -> Iterator[BrowserContext]:
    """A desk without an open tab."""
    yield screens["desk"]
    for page in screens["desk"].pages:
        page.close()


def opened(screen: BrowserContext, url: str) -> Page:
    """A tab at an address, drawn; `mark` is gone after a reload."""
    page = screen.new_page()
    page.goto(url)
    page.wait_for_selector(DRAWN)
    page.evaluate("window.mark = 1")
    return page


def faults(page: Page) -> list[str]:
    """Collects what the browser complains about."""
    found: list[str] = []
    page.on("console", lambda told: found.append(told.text) if told.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("response", lambda answer: found.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    return found


def not_reloaded(page: Page) -> bool:
    """Whether the tab is still the document that was opened."""
    return bool(page.evaluate("window.mark === 1"))


def traces(page: Page, chart: str) -> dict[str, dict[str, Any]]:
    """A drawn chart's traces by name."""
    graph = f"#{chart} .js-plotly-plot"
    page.wait_for_selector(f"{graph} .nsewdrag")
    read = "(graph) => graph.data.map(({name, marker, mode}) => ({name, marker, mode}))"
    found: list[dict[str, Any]] = page.eval_on_selector(graph, read)
    return {str(one["name"]): one for one in found}


def test_the_documentation_is_tried_out_with_nothing_from_elsewhere(
    house: Instance, screens: dict[str, BrowserContext]
) -> None:
    for screen in screens.values():
        with closing(screen.new_page()) as page:
            found, asked = faults(page), set[str]()
            page.on("request", lambda request: asked.add(request.url))  # noqa: B023 - called before the loop goes on
            page.goto(f"{house.url}/docs")
            score = page.locator(".opblock", has=page.get_by_role("button", name="POST /v1/score"))
            score.locator(".opblock-summary-control").click()
            score.get_by_role("button", name="Execute").click()
            expect(score.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
            expect(score.locator(".live-responses-table")).to_contain_text("warming_up")
            assert found == []
            assert [url for url in asked if not url.startswith((house.url, "data:"))] == []


@pytest.mark.parametrize("screen", ["desk", "phone"])
@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_drawn_without_a_complaint_and_can_be_used_by_all(
    house: Instance, screens: dict[str, BrowserContext], path: str, screen: str
) -> None:
    """The desk is light, the phone dark."""
    name, charts = PAGES[path]
    with closing(screens[screen].new_page()) as page:
        found = faults(page)
        page.goto(house.url + path)
        page.wait_for_selector(DRAWN)
        expect(page.locator("h1")).to_have_text(name)
        expect(page.locator(".js-plotly-plot .nsewdrag")).to_have_count(charts)
        expect(page).to_have_title(f"{name} · meterwatch")
        expect(page.locator("#connection")).to_have_text("Live")
        expect(page.locator("#nav .current")).to_contain_text(name)
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTH[screen]
        assert "Traceback" not in page.content()
        if path in ("/meter", "/events", "/overview"):
            expect(page.locator("#meter")).to_be_visible()
        letters = page.locator(".js-plotly-plot text:is([class*=tick] *)")
        assert set(letters.evaluate_all("all => all.map(one => getComputedStyle(one).fill)")) <= {INK[screen]}
        assert serious(page) == []
        assert found == []


@pytest.mark.parametrize("screen", ["desk", "phone"])
def test_an_explanation_can_be_used_by_all(house: Instance, screens: dict[str, BrowserContext], screen: str) -> None:
    with closing(screens[screen].new_page()) as page:
        page.goto(house.url + "/meter?meter=home&at=2009-01-06T00:00")
        page.wait_for_selector(DRAWN)
        expect(page.locator("#explanation")).to_contain_text("Reading of")
        assert serious(page) == []


def serious(page: Page) -> list[tuple[str, list[str]]]:
    """What axe calls serious or critical, and where."""
    found = [one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
    return [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found]


@pytest.mark.parametrize(("path", "chart", "normal"), [("/meter", "live-chart", "Actual"),
                                                       ("/overview", "overview-scatter", "Normal")])  # fmt: skip
def test_anomalous_points_are_red_and_of_another_shape(
    house: Instance, desk: BrowserContext, path: str, chart: str, normal: str
) -> None:
    page = opened(desk, house.url + path)
    found = traces(page, chart)
    calm, odd = found[normal]["marker"], found["Anomalous"]["marker"]
    assert odd["color"] == theme.ANOMALOUS
    assert calm["color"] == theme.NORMAL
    assert odd["symbol"] != calm["symbol"]
    red = "rgb({}, {}, {})".format(*(int(theme.ANOMALOUS[i : i + 2], 16) for i in (1, 3, 5)))
    fills = "(paths) => paths.map((path) => getComputedStyle(path).fill)"
    assert page.eval_on_selector_all(f"#{chart} .points path", fills).count(red) == 8


def test_the_live_pages_move_without_a_reload(house: Instance, desk: BrowserContext) -> None:
    live, events, health = (opened(desk, house.url + path) for path in ("/meter?meter=home", "/events", "/health"))
    expect(live.locator("#live-verdict")).to_contain_text("2009-02-09 23:55")
    expect(events.locator("tbody tr")).to_have_count(2)
    live.bring_to_front()
    begin = START + DAYS * DAY
    put(house, "home", day=DAYS, anomalous=slice(-6, None), events=[event(2, "home", begin + 84_600, None)])

    verdict = live.locator("#live-verdict")
    expect(verdict).to_contain_text("2009-02-10 23:55")
    expect(verdict).to_contain_text("Anomalous")
    expect(verdict.locator(".mark.anomalous")).to_be_visible()
    expect(live.locator("#live-events")).to_contain_text("going on")
    last = "() => document.querySelector('#live-chart .js-plotly-plot')._fullLayout.xaxis.range[1]"
    live.wait_for_function(f"({last})().startsWith('2009-02-10 23:55')")
    expect(live.locator("#live-chart .annotation-text", has_text="too much")).to_be_visible()
    expect(events.locator("tbody tr")).to_have_count(3)
    expect(health.locator("#health-body")).to_contain_text(f"{(DAYS + 2) * DAY // CADENCE:,}")
    assert all(map(not_reloaded, (live, events, health)))


def test_a_paused_page_waits_until_it_goes_on(house: Instance, desk: BrowserContext) -> None:
    held, free = (opened(desk, f"{house.url}/meter?meter={quote(ODD)}") for _ in range(2))
    expect(held.locator("#live-verdict")).to_contain_text("2009-01-01 23:55")
    held.click("#pause")
    expect(held.locator("#connection")).to_have_text("Paused")
    put(house, ODD, day=1)
    expect(free.locator("#live-verdict")).to_contain_text("2009-01-02 23:55")
    expect(held.locator("#live-verdict")).to_contain_text("2009-01-01 23:55")
    held.click("#pause")
    expect(held.locator("#live-verdict")).to_contain_text("2009-01-02 23:55")


def test_a_dragged_range_is_in_the_address_and_the_way_back_is_the_browsers(
    house: Instance, desk: BrowserContext
) -> None:
    page = opened(desk, house.url + "/meter?meter=home&range=1w")
    box = page.locator("#live-chart .nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 80, steps=6)
    page.mouse.up()
    page.wait_for_url("**start=*&end=*")
    expect(page.get_by_role("link", name="Back to now")).to_be_visible()
    shared = opened(desk, page.url)
    expect(shared.get_by_role("link", name="Back to now")).to_be_visible()
    axis = (
        "document.querySelector('#live-chart .js-plotly-plot')._fullLayout.xaxis.range.map((end) => end.slice(0, 16))"
    )
    shared.wait_for_selector("#live-chart .nsewdrag")
    page.wait_for_function(f"JSON.stringify({axis}) === '{shared.evaluate(f'JSON.stringify({axis})')}'")
    page.go_back()
    page.wait_for_url("**range=1w")
    expect(page.locator("#pause")).to_be_visible()


def test_a_clicked_reading_is_explained_and_named_in_the_address(house: Instance, desk: BrowserContext) -> None:
    page = opened(desk, house.url + "/meter?meter=home&range=6h")
    found = faults(page)
    expect(page.locator("#explanation")).to_contain_text("Click a reading")
    page.wait_for_selector("#live-chart .nsewdrag")
    expect(page.locator("#live-chart .nsewdrag")).to_have_count(
        5
    )  # power, voltage, current, reactive power, sub-meters
    box = page.locator("#live-chart .nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 0.4, box["y"] + 60)
    page.wait_for_url("**at=*")
    expect(page.locator("#explanation")).to_contain_text("Reading of 2009-02-")
    expect(page.locator("#explanation")).to_contain_text("The same hour in earlier weeks")
    expect(page.locator("#explanation")).to_contain_text("Where the verdict comes from")
    told = page.locator("#explanation .finding").inner_text()
    shared = opened(desk, page.url)
    expect(shared.locator("#explanation .finding")).to_be_visible()
    assert shared.locator("#explanation .finding").inner_text() == told
    page.locator("#explanation").get_by_role("link", name="Close").click()
    expect(page.locator("#explanation")).to_contain_text("Click a reading")
    page.goto(page.url + "&at=2009-02-01T00:00:07Z")
    expect(page.locator("#explanation")).to_contain_text("No reading of 'home' is stored")
    assert [one for one in found if "404" not in one] == []


def test_what_is_seen_is_saved_as_csv(house: Instance, desk: BrowserContext) -> None:
    window = "start=2009-01-01T06:00&end=2009-01-01T07:00"
    for path, name, first, rows in (
        (f"/meter?meter=home&{window}", "readings.csv", "at,active_power_kw", 13),  # every five minutes, with both ends
        ("/events?meter=home&end=2009-01-10", "events.csv", "event_id,meter_id", 1),
        (f"/?q={quote(ODD)}", "meters.csv", "meter_id,state", 1),
    ):
        page = opened(desk, house.url + path)
        for _ in range(2):
            with page.expect_download() as saved:
                page.get_by_role("button", name="CSV").click()
            assert saved.value.suggested_filename == name
            lines = saved.value.path().read_text().splitlines()
            assert lines[0].startswith(first)
            assert len(lines) == 1 + rows


def test_a_chart_is_saved_as_a_picture(house: Instance, desk: BrowserContext) -> None:
    page = opened(desk, house.url + "/meter?meter=home")
    page.wait_for_selector("#live-chart .nsewdrag")
    page.locator("#live-chart").hover()
    with page.expect_download() as saved:
        page.locator("#live-chart .modebar-btn[data-title*=Download]").click()
    assert saved.value.suggested_filename == "meterwatch-live-chart.png"
    assert saved.value.path().read_bytes().startswith(b"\x89PNG")


def test_a_typed_range_and_steps_through_time(house: Instance, desk: BrowserContext) -> None:
    page = opened(desk, house.url + "/meter?meter=home")
    page.locator("#meter-start").fill("2009-01-10")
    page.keyboard.press("Tab")
    page.locator("#meter-end").fill("2009-01-10 12:00")
    page.keyboard.press("Enter")
    page.wait_for_url("**start=2009-01-10&end=2009-01-10+12%3A00")
    # Each step waits until the page is drawn anew: the links before would lead from the range before.
    expect(page.get_by_role("link", name="Back to now")).to_be_visible()
    expect(page.locator("#meter-end")).to_have_value("2009-01-10 12:00")
    page.get_by_role("link", name="Earlier").click()
    page.wait_for_url("**start=2009-01-09T12%3A00%3A00&end=2009-01-10T00%3A00%3A00")
    expect(page.locator("#meter-end")).to_have_value("2009-01-10 00:00")
    page.get_by_role("link", name="Wider").click()
    page.wait_for_url("**start=2009-01-09T06%3A00%3A00&end=2009-01-10T06%3A00%3A00")
    expect(page.locator("#meter-end")).to_have_value("2009-01-10 06:00")
    page.locator("#meter-end").fill("2009-01-01")
    page.keyboard.press("Enter")
    expect(page.locator("#page")).to_contain_text("not after its start")
    assert not_reloaded(page)


def test_without_a_model_it_says_how_to_make_one_and_another_is_asked_about_and_can_be_taken_back(
    private: Instance, desk: BrowserContext, project: Path, tmp_path: Path
) -> None:
    registry, made = tmp_path / "models/mlflow.db", tmp_path / "made.db"
    registry.parent.mkdir()
    registry.with_name("artifacts").symlink_to(project / "mlruns/artifacts")
    with closing(sqlite3.connect(project / "mlruns/mlflow.db")) as own, closing(sqlite3.connect(made)) as copy:
        own.backup(copy)
    settings = Settings(mlflow_tracking_uri=f"sqlite:///{made}")
    first = next(one for one in versions(settings) if "champion" in one.aliases)
    with closing(sqlite3.connect(made)) as copy, copy:  # the same files once more, as another version
        for table in ("model_versions", "model_version_tags"):
            names = [row[1] for row in copy.execute(f"PRAGMA table_info({table})")]
            values = ", ".join("version + 100" if name == "version" else name for name in names)
            copy.execute(f"INSERT INTO {table} SELECT {values} FROM {table} WHERE version = {first.version}")
        copy.execute("DELETE FROM model_version_tags WHERE version > 100 AND key LIKE 'gate%'")
        tags = [("gate_passed", "false"), ("gate", "finds fewer faults")]
        added = "SELECT name, version, ?, ? FROM model_versions WHERE version > 100"
        copy.executemany(f"INSERT INTO model_version_tags (name, version, key, value) {added}", tags)
    private.env["METERWATCH_MLFLOW_TRACKING_URI"] = f"sqlite:///{registry}"
    other = str(int(first.version) + 100)
    put(private, "home", day=0)
    with served(private, "no champion"):
        page = opened(desk, private.url + "/meter")
        expect(page.locator(".banner")).to_contain_text("dvc repro")
        expect(page.locator("#live-chart .nsewdrag")).to_have_count(5)
        made.rename(registry)
        expect(page.locator(".banner")).to_have_count(0)
        page = opened(desk, private.url + "/models")
        row = page.locator("tr", has_text="judges here")
        before = row.locator("td").first.inner_text().split()[0]
        page.locator(f"[data-version='{other}']").click()
        dialog = page.locator("#ask-dialog")
        expect(dialog).to_contain_text(f"Make version {other} champion?")
        dialog.get_by_role("button", name="Cancel").click()
        expect(dialog).to_be_hidden()
        page.locator(f"[data-version='{other}']").click()
        expect(dialog).to_contain_text("The gate refused it: finds fewer faults")
        dialog.get_by_role("button", name="Yes").click()
        expect(dialog).to_be_visible()  # not without a reason
        page.locator("#force").fill("it was looked into")
        dialog.get_by_role("button", name="Yes").click()
        expect(row).to_contain_text(f"{other} champion")
        expect(row).to_contain_text("forced: it was looked into")
        page.locator("[data-model=rollback]").click()
        dialog.get_by_role("button", name="Yes").click()
        expect(row).to_contain_text(f"{before} champion")
        assert not_reloaded(page)


def test_a_list_is_reached_and_opened_with_the_keyboard(house: Instance, desk: BrowserContext) -> None:
    page = opened(desk, house.url + "/meter?meter=home")
    expect(page.locator("#meter")).to_be_visible()
    page.locator(".brand").focus()
    for _ in range(len(PAGES) + 1):  # the pages' names, then the first control
        page.keyboard.press("Tab")
    expect(page.locator("#meter")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".dash-dropdown-search")).to_be_visible()


def test_an_events_start_leads_to_its_picture(house: Instance, desk: BrowserContext) -> None:
    page = opened(desk, house.url + "/events?meter=home")
    page.locator("tbody tr").last.get_by_role("link").click()
    page.wait_for_url("**/meter?meter=home&start=*&at=*")
    expect(page.locator("#live-chart .annotation-text", has_text="too much")).to_be_visible()
    expect(page.locator("#explanation")).to_contain_text("Reading of 2009-01-06 00:00 (UTC)")  # the event's peak
    expect(page).to_have_title("Meter · meterwatch")


def test_all_meters_move_are_searched_and_sorted_without_a_reload(house: Instance, desk: BrowserContext) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    page = opened(desk, house.url)
    found = faults(page)
    rows = page.locator("#now-body tbody tr")
    before = rows.count()
    put(house, hostile, day=0)
    expect(rows).to_have_count(before + 1)
    page.keyboard.press("/")
    page.keyboard.type("onerr", delay=30)
    page.keyboard.type("or", delay=400)  # slower than the page follows: what is typed is never taken back
    page.wait_for_url("**q=onerror")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(hostile)
    expect(page.locator("#now-search")).to_be_focused()
    expect(page.locator("#page td img")).to_have_count(1)  # the day's line
    expect(page.locator("#now-chart .js-plotly-plot")).to_have_count(1)
    expect(page.locator("section", has=page.locator("#now-chart"))).to_contain_text(hostile)
    page.get_by_role("link", name="Last reading").click()
    page.wait_for_url("**sort=-reading")
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("Last reading")
    page.go_back()
    page.wait_for_url("**q=onerror")
    page.locator("#nav").get_by_role("link", name="Now").click()
    expect(rows).to_have_count(before + 1)
    expect(page.locator("#now-search")).to_have_value("")
    page.locator("h1").click()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/meter?meter=*")
    expect(page.locator("h1")).to_have_text("Meter")
    assert not_reloaded(page)
    assert found == []


def test_one_key_labels_an_event_one_takes_it_back_and_a_service_that_comes_back_is_noticed(
    private: Instance, desk: BrowserContext
) -> None:
    told = [event(k, "home", START + k * 7200, START + k * 7200 + 1800) for k in range(3)]
    put(private, "home", day=0, events=told)
    with served(private):
        page = opened(desk, private.url + "/events")
        found = faults(page)
        rows, toast, judged = (
            page.locator(where) for where in ("#events-body tr[data-event]", "#toast", "#events-body")
        )
        expect(judged).to_contain_text("No event of all meters is labelled yet")
        page.keyboard.press("j")
        page.keyboard.press("j")
        expect(rows.nth(1)).to_be_focused()
        page.keyboard.press("n")
        expect(toast).to_contain_text("First say")
        page.keyboard.press("r")
        expect(rows.nth(1).get_by_role("button", name="Real")).to_have_attribute("aria-pressed", "true")
        expect(judged).to_contain_text("1 of 1 labelled events")
        expect(judged).to_contain_text("21 % to 100 %")
        page.keyboard.press("n")
        page.keyboard.type("the oven <b>")
        page.keyboard.press("Enter")
        expect(rows.nth(1)).to_contain_text("the oven <b>")
        rows.nth(0).get_by_role("button", name="False alarm").click()
        expect(judged).to_contain_text("1 of 2 labelled events")
        assert private.rows("SELECT event_id, label, note FROM labels ORDER BY 1") == [
            ("home-1", "real", "the oven <b>"),
            ("home-2", "false_alarm", ""),
        ]

        newer = event(9, "home", START + DAY, None)
        rows.nth(1).focus()
        put(private, "home", day=1, events=[newer])
        expect(rows).to_have_count(4)
        expect(rows.nth(2)).to_be_focused()  # the focus goes with its event
        for said in ("Back to: not labelled", "Back to: Real", "Back to: not labelled", "Nothing to undo"):
            page.keyboard.press("u")
            expect(toast).to_contain_text(said)
        expect(judged).to_contain_text("is labelled yet")
        assert private.rows("SELECT * FROM labels") == []
        assert not_reloaded(page)
        assert found == []
        live, moved = opened(desk, private.url + "/meter"), opened(desk, private.url + "/meter")
        for page in (live, moved):
            expect(page.locator("#connection")).to_have_text("Live")
    for page in (live, moved):
        expect(page.locator("#connection")).to_have_text("Connection lost, trying again")
    moved.locator("#nav").get_by_role("link", name="Health").click()
    put(private, "home", day=2)
    with served(private):
        expect(live.locator("#live-verdict")).to_contain_text("2009-01-03 23:55")
        expect(live.locator("#connection")).to_have_text("Live")
        expect(moved.locator("h1")).to_have_text("Health")
        assert all(map(not_reloaded, (live, moved)))


def test_events_are_narrowed_in_the_address(house: Instance, desk: BrowserContext) -> None:
    page = opened(desk, house.url + "/events?meter=home")
    every = page.locator("tbody tr[data-event]").count()
    assert every >= 2
    page.locator("#event-end").fill("2009-01-10")
    page.keyboard.press("Enter")
    page.wait_for_url("**end=2009-01-10**")
    expect(page.locator("tbody tr[data-event]")).to_have_count(1)
    page.get_by_role("link", name="75+").click()
    page.wait_for_url("**severity=75**")
    expect(page.locator("#page")).to_contain_text("No event is like this")
    shared = opened(desk, page.url)
    expect(shared.locator("#event-end")).to_have_value("2009-01-10 00:00")
    expect(shared.locator(".filters .current")).to_contain_text(["All", "75+"])
    page.get_by_role("link", name="Show every event").click()
    expect(page.locator("tbody tr[data-event]").first).to_be_visible()
    assert not_reloaded(page)


def test_a_finger_on_a_chart_scrolls_the_page(house: Instance, screens: dict[str, BrowserContext]) -> None:
    with closing(opened(screens["phone"], house.url + "/overview")) as page:
        page.wait_for_selector("#overview-scatter .nsewdrag")
        box = page.locator("#overview-scatter .nsewdrag").first.bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        finger = page.context.new_cdp_session(page)
        finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        for step in range(1, 12):
            finger.send(
                "Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y - 20 * step}]}
            )
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait_for_function("window.scrollY > 100")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("?meter=" + quote("<img src=x onerror=alert(1)>"), "<img src=x onerror=alert(1)>"),
        ("?range=2y", "no range '2y'"),
        ("?meter=home&start=2030-01-01&end=2030-01-02", "There are some from"),
    ],
)
def test_an_address_that_shows_nothing_says_why(house: Instance, desk: BrowserContext, query: str, says: str) -> None:
    page = desk.new_page()
    found = faults(page)
    page.goto(f"{house.url}/meter{query}")
    page.wait_for_selector(DRAWN)
    expect(page.locator("#page")).to_contain_text(says)
    assert page.locator("#page img").count() == 0
    assert found == []


def test_a_page_without_readings_says_why_and_fills_by_itself(private: Instance, desk: BrowserContext) -> None:
    path = private.dir / "meterwatch.db"
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute("CREATE TABLE other (x)")
    with served(private):
        page = opened(desk, private.url + "/meter")
        expect(page.locator("#page")).to_contain_text("The database cannot be read")
        expect(page.locator("#page")).to_contain_text("meterwatch doctor")
        path.unlink()
        expect(page.locator("#page")).to_contain_text("No readings yet")
        expect(page.locator("#page")).to_contain_text("meterwatch up --replay FILE")
        put(private, "home", day=0)
        expect(page.locator("#live-verdict")).to_contain_text("2009-01-01 23:55")
        expect(page.locator("#meter")).to_contain_text("home")
        expect(page.locator("#live-chart .nsewdrag")).to_have_count(5)
        assert not_reloaded(page)
