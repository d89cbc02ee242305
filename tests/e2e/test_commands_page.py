"""Every command of docs/commands.md is executed, against a running instance."""

from __future__ import annotations

import lzma
import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.households import YEAR
from tests.instances import BIN, PATIENCE, ROOT, Instance, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = (ROOT / "docs/commands.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
READINGS = 1600  # more than a day: some are scored


def commands(block: str) -> list[str]:
    """The commands of a block, each with the `export` lines before it."""
    joined = re.sub(r"\n +", " ", block.replace("\\\n", " "))
    exports = [line for line in joined.splitlines() if line.startswith("export ")]
    return ["\n".join([*exports, line]) for line in joined.splitlines() if line and line not in exports]


COMMANDS = [command for block in BLOCKS for command in commands(block)]


@pytest.fixture(scope="module")
def running(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance that runs and has stored a day and more."""
    directory = tmp_path_factory.mktemp("running")
    instance = Instance(directory, registry)
    file = directory / "in.txt"
    with lzma.open(YEAR, "rt") as text:
        file.write_text("".join(line for _, line in zip(range(READINGS + 1), text, strict=False)) + "x;y\n")
    up = instance.spawn("up", "--replay", file)
    try:
        wait_for("the readings to be stored", lambda: instance.stored() >= READINGS)
        yield instance
    finally:
        up.terminate()
        up.wait(PATIENCE)
    assert instance.processes() == []


def test_every_tool_has_its_commands() -> None:
    for tool in ("meterwatch status", "meterwatch broker", "meterwatch sql", "dvc repro", "mlflow runs"):
        assert any(tool in command for command in COMMANDS), tool


@pytest.mark.parametrize("command", COMMANDS, ids=lambda text: text.splitlines()[-1][:60])
def test_it_does_what_the_page_says(running: Instance, project: Path, command: str) -> None:
    here = command.replace("127.0.0.1:8000", f"127.0.0.1:{running.http}").replace(".venv/bin/", f"{BIN}/")
    env = {**running.env, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-eu", "-c", here], cwd=project, env=env, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr
    quiet = ("dvc params diff", "dvc status")
    assert done.stdout.strip() or any(words in command for words in quiet)
