"""No figure without its raw file: README and the pages against benchmarks/results and data/reports.

A paragraph says that it was measured by its link to a raw file; each number in it must occur there, rounded as it is in
the text. A row of a table without a link belongs to the paragraph above.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from benchmarks import proof
from tests.instances import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = ("README.md", *(f"docs/{name}.md" for name in ("stream-speed", "reliability", "models", "shadow-and-drift")))
RAW = re.compile(r"\]\((?:\.\./)?((?:benchmarks/results|data/reports)/[^)]+)\)|\]\((?:docs/)?(proof\.md)\)")
UNSAID = re.compile(r"`[^`]*`|\]\([^)]*\)")  # code and addresses
NUMBER = r"\d+(?:,\d{3})+|\d+(?:\.\d+)?"
FIGURE = re.compile(rf"(?<![\w.,-])({NUMBER})(?![\w-])(?:(?=(?: to (?:{NUMBER}))? (%|(?:ms|s|MB|GB)\b)))?")
SCALES = {"%": (1, 100), "s": (1, 1e-3), "ms": (1, 1e3), "GB": (1, 1e-3)}  # from what raw files are in


@pytest.mark.parametrize("page", PAGES)
def test_each_measured_figure_is_in_its_raw_file(page: str) -> None:
    wrong = []
    for section, paragraph, files in paragraphs((ROOT / page).read_text()):
        if not files and section != "## Measured" and "easured" not in paragraph:
            continue
        known = [float(one.replace(",", "")) for file in files for one in re.findall(NUMBER, raw(file))]
        where, named = " ".join(paragraph.split())[:60], ", ".join(files) or "a raw file: link one"
        wrong += [
            f"{page}, {where!r}…: {told} {unit} is not in {named}"
            for told, unit in FIGURE.findall(UNSAID.sub("", paragraph))
            if not said(told, unit, known)
        ]
    assert wrong == [], "\n".join(["", *wrong])


def test_the_table_of_detectors_is_the_study() -> None:
    rows = []
    for words, found, _ in proof.study():
        told = percent(found["recall"])
        rows.append(f"| {words} | {f'**{told}**' if words.startswith('**') else told} |")
    readme = (ROOT / "README.md").read_text()
    assert [row for row in rows if row not in readme] == [], "put this table into README.md:\n" + "\n".join(rows)


def test_what_is_said_first_of_quality_is_that_figure_and_no_other_of_its_file() -> None:
    """Among hundreds of percentages nearly each whole one occurs."""
    found = json.loads(proof.raw(proof.EVALUATION))["detectors"]
    study = json.loads(proof.result("study.json") or "")
    ours, studied, unseen = found["meterwatch"], study["detectors"]["meterwatch"], study["left_out_of_teaching"]
    wanted = (
        f"the whole finds {percent(ours['recall'])} of {ours['faults']:.0f} injected faults",
        f"the original rule {percent(found['seed-3sigma']['recall'])}",
        f"it rings {ours['shipped_false_alarms_a_month']:.1f} times a month",
        f"and finds {percent(ours['shipped_recall'])}:",
        f"kind is right for {percent(ours['kind_right'])} of {ours['kind_events']:.0f} events",
        f"left on is found in {percent(studied['recall_left_on'])} of cases",
        f"a stuck reading: {percent(unseen['stuck'])} instead of {percent(studied['recall_stuck'])}",
    )
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert [phrase for phrase in wanted if phrase not in readme] == [], "README.md should say so"


def test_the_page_is_what_the_raw_files_say() -> None:
    made = "\n".join(proof.page()) + "\n"
    assert proof.PAGE.read_text().splitlines() == made.splitlines(), "run `python -m benchmarks.proof`"


@pytest.mark.parametrize(
    ("told", "unit", "raw", "is_said"),
    [
        ("64", "%", 0.6449, True),
        ("64", "%", 64.4, True),
        ("64", "%", 0.6451, False),
        ("0.8", "GB", 830, True),
        ("0.8", "GB", 860, False),
        ("120,000", "", 119_728, True),
        ("120,000", "", 112_000, False),
        ("3.1", "s", 3.14, True),
        ("3.1", "s", 3.2, False),
        ("40,671", "", 40_672, False),
    ],
)
def test_a_figure_is_held_to_its_own_rounding(told: str, unit: str, raw: float, is_said: bool) -> None:  # noqa: FBT001
    assert said(told, unit, [raw]) is is_said


def paragraphs(page: str) -> Iterator[tuple[str, str, list[str]]]:
    """Heading, text and raw files of each paragraph, list item and row."""
    section, above = "", []
    for block in re.split(r"\n\n|\n(?=[-|#] ?)", re.sub(r"```.*?```", "", page, flags=re.DOTALL)):
        if block.startswith("#"):
            section, above = block.strip(), []
            continue
        files = [file or f"docs/{proof_page}" for file, proof_page in RAW.findall(block)]
        if not block.startswith("|"):
            above = files
        yield section, block, files or above


def percent(share: float) -> str:
    """As the pages write it."""
    return f"{100 * share:.0f} %"


def raw(file: str) -> str:
    """What a page links to."""
    return proof.raw(file) if file.startswith("data/") else (ROOT / file).read_text()


def said(told: str, unit: str, known: list[float]) -> bool:
    """Whether one of the known numbers, rounded so, is this figure: the zeros of 120,000 may be rounding."""
    digits = told.replace(",", "")
    zeros = min(len(digits) - len(digits.rstrip("0")), max(len(digits) - 2, 0))
    within = 10 ** (-len(digits.partition(".")[2]) if "." in digits else zeros) / 2 * (1 + 1e-9)
    return any(abs(one * scale - float(digits)) <= within for one in known for scale in SCALES.get(unit, (1,)))
