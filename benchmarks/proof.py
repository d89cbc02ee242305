"""The proof page: each claim with its figure, its peers, its command and its raw file.

    python -m benchmarks.proof

It writes docs/proof.md from benchmarks/results and data/reports/evaluation.json. No figure is typed here: each is
looked up in its file by a pattern that must match; what was not measured is said.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks._report import RESULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = RESULTS.parents[1]
PAGE = ROOT / "docs/proof.md"
EVALUATION = "data/reports/evaluation.json"
AHEAD = " (ahead)"
MISSING = "not measured on this machine yet"
PEERS = ("adbc-driver-sqlite", "dash", "mlflow", "pyspark", "river", "scikit-learn", "stumpy")


class Claim(NamedTuple):
    """A line of a table: patterns with one group each, of the claim and of its peers."""

    claim: str
    file: str
    ours: str
    beside: dict[str, str] = {}  # noqa: RUF012 - never changed
    more: bool = False  # whether more is better


PEER = r'"mlflow_models_serve": \{[^}]*'
CLAIMS = {
    "Throughput": (
        Claim(
            "readings a second, first send to the row with its verdict", "stream.txt", r"^meterwatch, all .* ([\d,]+)$",
            {
                "raw ADBC, the rows and nothing else": r"^raw ADBC.* ([\d,]+)$",
                "raw `executemany`": r"^raw executemany +([\d,]+)$",
                "the original's way, without verdicts": r"^the original's way +([\d,]+)$",
            }, more=True,
        ),
        Claim(
            "readings a second in one process, minutes of a meter", "detector.txt", r"^observe, minutes.*days +(.*)$",
            {"scikit-learn's IsolationForest alone": r"^IsolationForest, the same minutes +(.*)$"}, more=True,
        ),
        Claim(
            "the same, half-hourly meters", "detector.txt", r"^observe, \d+ half-hourly.*days +(.*)$", more=True,
        ),
        Claim("a reading of each of very many meters", "many_meters.txt", r"no profile changes: ([\d.]+ s)"),
        Claim("the same where every profile changes", "many_meters.txt", r"every profile changes: ([\d.]+ s)"),
        Claim("REST, readings a second in bulk (Arrow)", "service.txt", r'"readings_per_s": (\d+)', more=True),
        Claim("REST, requests a second of many clients", "service.txt", r'"requests_per_s": (\d+)', more=True),
    ),
    "Latency": (
        Claim("a live reading to its row, median", "stream.txt", r"p50 ([\d.]+ s)"),
        Claim("a live reading to its row, 95 of 100", "stream.txt", r"p95 ([\d.]+ s)"),
        Claim(
            "one reading a call, in process, median", "detector.txt", r"^observe, one reading a call +p50 (.*)$",
            {"scikit-learn's IsolationForest alone": r"^IsolationForest, one reading a call +p50 (.*)$"},
        ),
        Claim(
            "one reading a request, median ms", "service.txt", r'"singles": \{[^}]*"p50_ms": ([\d.]+)',
            {"`mlflow models serve`": PEER + r'"p50_ms": ([\d.]+)'},
        ),
        Claim(
            "service ready, s", "service.txt", r'^ "ready_s": ([\d.]+)',
            {"`mlflow models serve`": PEER + r'"ready_s": ([\d.]+)'},
        ),
        Claim("broker ready, first start", "starting.txt", r"^broker ready, first.*?  +(.*?),"),
        Claim("the stream's first batch stored", "starting.txt", r"^stream, first batch.*?  +(.*?),"),
        Claim(
            "a year of minutes as a chart, CPU ms", "dashboard.txt", r"^1 year +\S+ \(.*?\) +([\d.]+)",
            {"a plain Dash figure of every row": r"^1 year .* (\S+), \S+, \S+"},
        ),
        Claim("first page seen in a browser, s", "dashboard.txt", r"^/ +([\d.]+)"),
    ),
    "Memory": (
        Claim("the stream's driver, Python, MB", "stream.txt", r"^stream: Python +[\d.]+ +(\d+)"),
        Claim("the same, very many meters", "many_meters.txt", r"stream, Python .* at most +([\d,]+ MB)"),
        Claim("broker, stream, service and supervisor", "starting.txt", r"^all processes.*?  +(.*?),"),
        Claim(
            "the service, resident MB", "service.txt", r'"resident_mb_at_start": (\d+)',
            {"`mlflow models serve`": PEER + r'"resident_mb": (\d+)'},
        ),
    ),
    "Quality": tuple(
        Claim(
            f"injected faults found at one false alarm a meter and month, {whose}", file, r"^meterwatch +\S+ +(\S+)",
            {
                "robust z of the week's quarter hour": r"^weekly-z +\S+ +(\S+)",
                "the original's IsolationForest": r"^seed-iforest +\S+ +(\S+)",
            }, more=True,
        )
        for whose, file in (("one household", "recall-household.txt"), ("London", "recall-london.txt"))
    ),
    "Reliability": (
        Claim("killed at random", "kill_storm.txt", r"^killed +(\d+)"),
        Claim("records sent meanwhile", "kill_storm.txt", r"^sent +([\d,]+)"),
        Claim("every row against an undisturbed run", "kill_storm.txt", r"\n\n(.+)\s*\Z"),
    ),
}  # fmt: skip

FILES = (
    "stream.txt", "many_meters.txt", "detector.txt", "service.txt", "starting.txt", "dashboard.txt", "repro.txt",
    "recall-household.txt", "recall-london.txt", "drift.txt", "kill_storm.txt",
)  # fmt: skip

# The detectors of the study by the words that README uses.
DETECTORS = {
    "meterwatch": "**meterwatch**",
    "statistics-untaught": "its statistics, not taught",
    "forest": "its IsolationForest alone",
    "sequence": "its sequence model alone",
    "seed-3sigma": "seed-3sigma, the original's rule",
    "weekly-z": "robust z of the same quarter hour of the week",
    "left-matrix-profile": "left matrix profile (stumpy), a day's window",
    "half-space-trees": "half-space trees (river)",
    "quantile-forecast": "boosted quantile forecast (scikit-learn), day and week lags",
    "seed-iforest": "IsolationForest on scaled channels, the original's",
}


def raw(path: str) -> str:
    """A file of data/reports as git has staged it: `dvc repro` on another processor rounds some figures otherwise."""
    shown = subprocess.run(["git", "show", f":{path}"], cwd=ROOT, capture_output=True, text=True, check=False)
    if shown.returncode:
        raise SystemExit(f"{path} is not in git's index: `git add` it")
    return shown.stdout


def result(name: str) -> str | None:
    """A file of benchmarks/results, as it lies there."""
    return (RESULTS / name).read_text() if (RESULTS / name).exists() else None


def link(name: str) -> str:
    """To a raw file, from the page."""
    return f"[{name}](../benchmarks/results/{name})"


def figure(file: str, text: str, pattern: str) -> str:
    """The one figure that a pattern means."""
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{file} has nothing like {pattern}: was it written by an older benchmark?")
    return found[1].strip()


def found(claim: Claim) -> tuple[str, dict[str, str]] | None:
    """A claim's figure, and those of its peers with AHEAD where they are better; None where it was not measured."""
    text = result(claim.file)
    if text is None:
        return None
    ours = figure(claim.file, text, claim.ours)
    peers = {name: figure(claim.file, text, pattern) for name, pattern in claim.beside.items()}
    sign = 1 if claim.more else -1
    better = {name for name, peer in peers.items() if sign * first(peer) > sign * first(ours)}
    return ours, {name: f"{peer}{AHEAD * (name in better)}" for name, peer in peers.items()}


def first(told: str) -> float:
    """The number that is compared."""
    return float(re.findall(r"\d[\d,]*\.?\d*", told)[0].replace(",", ""))


def table(claims: tuple[Claim, ...]) -> Iterator[str]:
    """The lines of a subject."""
    yield from ("| | meterwatch | beside it | raw |", "|---|---|---|---|")
    for one in claims:
        if (told := found(one)) is None:
            yield f"| {one.claim} | {MISSING} | | `{one.file}` |"
        else:
            beside = "; ".join(f"{name} {peer}" for name, peer in told[1].items())
            yield f"| {one.claim} | {told[0]} | {beside} | {link(one.file)} |"


def study() -> list[tuple[str, dict[str, Any], list[float]]]:
    """Each detector of the study in README's words: its figures, and its recall for each set of faults."""
    told = json.loads(result("study.json") or "")
    return [(words, told["detectors"][name], told["recall_by_seed"][name]) for name, words in DETECTORS.items()]


def quality() -> Iterator[str]:
    """The study, and the models as `dvc repro` made them."""
    yield f"\n`make study`: public detectors on the same readings and faults ({link('study.json')}; nothing in it is a"
    yield "time, so it names no machine), each where it finds most within one false alarm a meter and month.\n"
    yield "| detector | found | least to most, by set of faults | false alarms a month | precision | median delay, h |"
    yield "|---|---|---|---|---|---|"
    for words, of, sets in study():
        rest = f"{of['false_alarms_a_month']:.2f} | {of['precision']:.1%} | {of['delay_h']:.1f}"
        yield f"| {words} | {of['recall']:.1%} | {min(sets):.1%} to {max(sets):.1%} | {rest} |"
    yield f"\n`dvc repro`: the shipped year's evaluation months ([all figures](../{EVALUATION})).\n"
    names = ("recall", "false_alarms_a_month", "precision", "vus_pr", "shipped_recall", "shipped_false_alarms_a_month")
    yield f"| | {' | '.join(name.replace('_', ' ') for name in names)} |"
    yield "|---" * (len(names) + 1) + "|"
    for detector, of in json.loads(raw(EVALUATION))["detectors"].items():
        yield f"| {detector} | {' | '.join(f'{of[one]:.3f}' if one in of else '' for one in names)} |"


def losses() -> Iterator[str]:
    """Peers that are ahead, goals that were missed, and the kinds of faults that are found least."""
    for one in (one for claims in CLAIMS.values() for one in claims):
        ours, peers = found(one) or ("", {})
        for name in (name for name, peer in peers.items() if peer.endswith(AHEAD)):
            yield f"- {one.claim}: {ours}; {name} {peers[name].removesuffix(AHEAD)} ({link(one.file)})"
    for name in FILES:
        short = [line for line in (result(name) or "").splitlines() if "FALLS SHORT" in line]
        yield from (f"- `{' '.join(line.split())}` ({link(name)})" for line in short)
    kinds = sorted((value, name[7:]) for name, value in study()[0][1].items() if name.startswith("recall_"))
    yield f"- found least: {', '.join(f'{name} {value:.0%}' for value, name in kinds[:3])} ({link('study.json')})"


def versions() -> str:
    """Of the peers and engines, as they are locked."""
    locks = (ROOT / "requirements.lock").read_text() + (ROOT / "requirements-study.lock").read_text()
    return ", ".join(f"{name} {figure('the lock', locks, rf'^{name}==([^ ]+)')}" for name in PEERS)


def page() -> Iterator[str]:
    """All of it, a line or more at a time."""
    yield "# Proof\n"
    yield "Each claim with its figure, its peers on the same readings, its command and its raw file, which names the"
    yield "machine; brackets hold the least and the most of several runs. `make bench` runs the benchmarks and writes"
    yield "this page (`python -m benchmarks.proof` alone writes it). No figure is typed; a test holds README and the"
    yield "other pages against the same files.\n"
    yield f"Locked versions: {versions()}.\n"
    yield "## What we lose at\n"
    yield from losses()
    for subject, claims in CLAIMS.items():
        yield f"\n## {subject}\n"
        yield from table(claims)
        if subject == "Quality":
            yield from quality()
    yield "\n## Raw files"
    for name in FILES:
        program = f"{name.removesuffix('.txt').partition('-')[0]}.py"
        yield f"\n### {name}\n\n{ast.get_docstring(ast.parse((ROOT / 'benchmarks' / program).read_text()))}"
        yield f"\n```\n{(result(name) or MISSING).strip()}\n```"


if __name__ == "__main__":
    PAGE.write_text("\n".join(page()) + "\n")
    print(f"{PAGE.relative_to(ROOT)} is written")
