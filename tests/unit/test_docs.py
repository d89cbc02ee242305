"""What is documented is there, and what is there is documented."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meterwatch import __version__
from meterwatch.cli import app
from meterwatch.settings import PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import typer

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\[[^\]]+\]\((?!https?:|#|mailto:)([^)#]+)")


def test_the_page_of_settings_is_the_code() -> None:
    rows = [
        f"| `{PREFIX}{name.upper()}` | {_shown(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    page = (ROOT / "docs/settings.md").read_text()
    table = [line for line in page.splitlines() if line.startswith("| `")]
    assert table == rows, "put this table into docs/settings.md:\n" + "\n".join(rows)


def test_every_command_has_its_line_on_the_page() -> None:
    page = (ROOT / "docs/commands.md").read_text()
    rows = [f"| `meterwatch {path}` | {text} |" for path, text in commands()]
    table = [line for line in page.splitlines() if line.startswith("| `meterwatch ")]
    assert table == rows, "put this table into docs/commands.md:\n" + "\n".join(rows)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()] == []


def test_make_targets_named_in_the_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for page in PAGES for target in re.findall(r"`make ([a-z-]+)", page.read_text())}
    assert named - targets == set()


def test_the_version_is_one() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__


def commands() -> Iterator[tuple[str, str]]:
    """Every command by its words, with the first line of its help."""

    def walk(group: typer.Typer, before: str) -> Iterator[tuple[str, str]]:
        for command in group.registered_commands:
            name = command.name or str(command.callback.__name__ if command.callback else "")
            help_ = command.help or (command.callback.__doc__ if command.callback else None) or ""
            yield f"{before}{name}", help_.strip().splitlines()[0]
        for part in group.registered_groups:
            if part.typer_instance is not None:
                yield from walk(part.typer_instance, f"{before}{part.name} ")

    return walk(app, "")


def _shown(default: object) -> str:
    return "" if default in (None, "") else f"`{default}`"
