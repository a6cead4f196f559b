"""What a tally adds is what prometheus-client's own histograms would have counted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry, Histogram

from dragoman.metrics import Tally

AMOUNTS = (0.0, 0.0005, 0.00051, 0.003, 0.003, 7.0, 120.0, 1e6)

# A process of its own: prometheus-client takes its mode when it is imported, and this one's is another.
SCRIPT = """
import json, sys
from pathlib import Path
from dragoman import metrics
metrics.prepare(Path(sys.argv[1]))
def worker(add):
    metrics.identify("worker-0")
    own = metrics.Metrics()
    for code in ("200", "400"):
        child = own.request_duration.labels("m", "v1", code)
        add(child, [float(amount) for amount in sys.argv[3:]])
if sys.argv[2] == "tally":
    def add(child, amounts):
        tally = metrics.Tally(child)
        for amount in amounts:
            tally.add(amount)
else:
    def add(child, amounts):
        for amount in amounts:
            child.observe(amount)
worker(add)
text = metrics.render(Path(sys.argv[1]))[0].decode()
print(json.dumps(sorted(line for line in text.splitlines() if line.startswith("dragoman_request_duration"))))
"""


def scraped(folder: Path, way: str) -> list[str]:
    command = [sys.executable, "-c", SCRIPT, str(folder), way, *map(str, AMOUNTS)]
    lines: list[str] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout)
    return lines


def test_a_scrape_shows_what_was_tallied_as_what_was_observed(tmp_path: Path) -> None:
    tallied = scraped(tmp_path / "tallied", "tally")
    assert tallied == scraped(tmp_path / "observed", "observe")
    assert 'dragoman_request_duration_seconds_count{code="200",dialect="v1",model="m"} 8.0' in tallied


def test_a_respawned_worker_goes_on_counting_where_the_dead_one_stopped(tmp_path: Path) -> None:
    scraped(tmp_path, "tally")
    again = SCRIPT.replace(
        "metrics.prepare(Path(sys.argv[1]))", "import os; os.environ['PROMETHEUS_MULTIPROC_DIR'] = sys.argv[1]; metrics.use()"
    )
    command = [sys.executable, "-c", again, str(tmp_path), "tally", *map(str, AMOUNTS)]
    lines = json.loads(subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout)
    assert 'dragoman_request_duration_seconds_count{code="400",dialect="v1",model="m"} 16.0' in lines


def test_without_files_a_tally_observes() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("seconds", "what is measured", ("model",), registry=registry)
    tally = Tally(histogram.labels("m"))
    tally.add(0.5)
    assert registry.get_sample_value("seconds_count", {"model": "m"}) == 1
