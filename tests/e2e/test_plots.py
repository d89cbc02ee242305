"""What `dvc plots show` writes, looked at in a real browser without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from tests.pipeline import dvc

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

# Of each chart, how many of its points have a colour: letters, axes and grid are grey.
COLOURED = """charts => charts.map(chart => {
    const {data} = chart.getContext("2d").getImageData(0, 0, chart.width, chart.height);
    return data.filter((red, k) => k % 4 == 0 && Math.abs(red - data[k + 2]) > 40).length;
})"""


def test_the_plots_are_drawn_without_a_network(project: Path, browser: Browser, tmp_path: Path) -> None:
    shown = dvc(project, "plots", "show", "--out", str(tmp_path))
    assert shown.returncode == 0, shown.stderr
    told: list[str] = []
    context = browser.new_context(offline=True, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.on("pageerror", lambda error: told.append(str(error)))
    page.goto((tmp_path / "index.html").as_uri())
    plots = yaml.safe_load((project / "dvc.yaml").read_text())["plots"]
    page.locator("canvas").nth(len(plots) - 1).wait_for()

    coloured = page.locator("canvas").evaluate_all(COLOURED)
    wide = page.evaluate("document.documentElement.scrollWidth")
    context.close()

    assert told == []
    assert len(coloured) == len(plots)
    assert min(coloured) > 100
    assert wide == 390  # wider charts are moved in their own place
