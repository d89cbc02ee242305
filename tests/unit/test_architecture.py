"""The house keeps its shape: who imports whom, what is packaged, how long a module is."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("meterwatch", "serving", "streaming", "training")
HEAVY = ("mlflow", "pyspark", "tensorflow", "fastapi", "sklearn", "pandas", "dvc")
LONGEST = 400  # 300 is a smell, this is a wall


@cache
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh process has loaded after `code`."""
    end = "; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code + end], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_domain_loads_no_framework() -> None:
    everything = "; ".join(
        f"import meterwatch.detection.{path.stem}"
        for path in (ROOT / "meterwatch/detection").glob("*.py")
        if path.stem != "__init__"
    )
    assert loaded_by(everything) & set(HEAVY) == set()


def test_the_service_loads_nothing_of_training_or_streaming() -> None:
    assert loaded_by("import serving.app") & ({*HEAVY, "training", "streaming"} - {"fastapi"}) == set()


def test_the_command_line_answers_before_any_door_is_loaded() -> None:
    unwanted = {*HEAVY, "numpy", "pyarrow", "httpx", "pydantic", "serving", "streaming", "training"}
    assert loaded_by("import meterwatch.cli") & unwanted == set()


def test_packages_are_listed_and_all_there() -> None:
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in modules() if path.name == "__init__.py"}
    assert sorted(project()["tool"]["setuptools"]["packages"]) == sorted(found)


def test_every_import_is_declared() -> None:
    groups = [text for group in project()["dependency-groups"].values() for text in group]
    declared = {canonicalize_name(Requirement(text).name) for text in [*_requirements(), *groups]}
    known = packages_distributions()
    missing = {}
    for path in modules():
        for name in _imports(path) - set(PACKAGES) - sys.stdlib_module_names:
            if not declared & {canonicalize_name(one) for one in known.get(name, [name])}:
                missing[name] = str(path.relative_to(ROOT))
    assert missing == {}


def test_the_lock_holds_every_requirement_with_its_hash() -> None:
    studied = project()["dependency-groups"]["study"]
    for name, asked in (("requirements.lock", _requirements()), ("requirements-study.lock", studied)):
        lock = (ROOT / name).read_text()
        locked = {
            canonicalize_name(one)
            for one in re.findall(r"^([\w.\[\]-]+)==[^ ]+ \\\n +--hash=sha256:", lock, re.MULTILINE)
        }
        assert {canonicalize_name(Requirement(text).name) for text in asked} - locked == set()
        assert len(locked) == len(re.findall(r"^[\w.\[\]-]+==", lock, re.MULTILINE))


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements*.lock")), ids=lambda path: path.name)
def test_locks_name_no_index(lock: Path) -> None:
    assert re.findall(r"^.*(?:://|--index|--extra|--find).*$", lock.read_text(), re.MULTILINE) == []


def test_the_serving_lock_has_no_part_of_training_or_streaming() -> None:
    lock = (ROOT / "requirements-serve.lock").read_text()
    for name in ("tensorflow-cpu", "pyspark", "dvc", "mlflow", "pandas", "scikit-learn"):
        assert f"\n{name}==" not in lock


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST


def _requirements() -> list[str]:
    told = project()["project"]
    return [*told["dependencies"], *(text for extra in told["optional-dependencies"].values() for text in extra)]


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found
