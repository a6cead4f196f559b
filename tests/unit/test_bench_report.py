"""The yardstick's pure parts: goals, tables, which answers count as the model's, and what the locks of the other servers hold."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from bench.cases import agree, binary_outputs, chosen, outputs, predictions
from bench.findings import Cell, Results, Start, load, ratios, save
from bench.goals import Goal, own_share, start, tail, times
from bench.quiet import Quiet, TimeUp
from bench.report import markdown, table
from bench.wrk import Load

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "bench/requirements").glob("*.txt"))


def cell(server: str, *rates: int, connections: int = 16, p99: float = 1.5, cpu_ms: float = 0.0, predict_ms: float | None = None) -> Cell:
    return Cell("A", server, connections, 1, [Load(rate, 1.0, 1.0, p99, p99, p99, 0, 0, cpu_ms, predict_ms) for rate in rates])


def results(*cells: Cell, **starts: Start) -> Results:
    return Results("short", cells=list(cells), starts=starts, finished=True)


def met(goal: Goal, found: Results) -> bool | None:
    verdict = goal.judge(found)
    return None if verdict is None else verdict.met


def test_a_goal_is_met_by_the_median_of_the_rounds_ratios() -> None:
    goal = times("A, batching", "A", "ours", "floor", 3, 16)
    assert met(goal, results(cell("floor", 100, 200, 100), cell("ours", 310, 400, 310)))
    assert met(goal, results(cell("floor", 100, 200, 100), cell("ours", 290, 900, 290))) is False
    assert met(goal, results(cell("floor", 100))) is None
    assert met(goal, results(cell("floor", 100), cell("ours", 400, connections=1))) is None


def test_a_measured_ratio_is_shown_with_its_spread() -> None:
    verdict = times("A", "A", "ours", "floor", 3, 16).judge(results(cell("floor", 100, 100, 100), cell("ours", 310, 250, 1200)))
    assert verdict is not None
    assert verdict.measured == "3.10 (2.50 to 12.0)"


@pytest.mark.parametrize(("p99", "wanted"), [(1.9, True), (2.1, False)])
def test_a_tail_is_judged_against_the_median_latency(p99: float, wanted: bool) -> None:
    assert met(tail("A", "A", "ours", 2, 16), results(cell("ours", 100, p99=p99))) is wanted


def test_our_own_share_is_what_the_cpu_did_outside_of_the_model() -> None:
    assert met(own_share(0.15), results(cell("ours", 100, cpu_ms=0.4, predict_ms=0.3)))
    assert met(own_share(0.15), results(cell("ours", 100, cpu_ms=0.4, predict_ms=0.2))) is False


def test_start_and_memory_are_judged_against_the_floors() -> None:
    found = results(floor=Start([1.0], [100.0]), ours=Start([1.1], [150.0]))
    assert met(start("A", "ours", 1.2, "seconds"), found)
    assert met(start("A", "ours", 1.2, "pss_mb"), found) is False


def test_a_report_says_what_was_missed_and_what_was_not_measured() -> None:
    found = results(cell("floor", 100), cell("ours", 200))
    found.left_out["KServe"] = "not installed"
    text = markdown(found)
    assert "| A, batching, 16 connections | >= 3 x floor | 2.00 (2.00 to 2.00) | **missed** |" in text
    assert "| A, batching, 16 connections | >= 7 x KServe | not measured in this run |  |" in text
    assert "| KServe | not installed |" in text
    assert "ended before it was through" not in text


def test_a_run_that_ran_out_of_time_says_so() -> None:
    assert "ended before it was through" in markdown(Results("short"))


def test_a_bar_does_not_end_a_cell() -> None:
    assert table(("a",), [("x|y",)]) == "| a |\n| --- |\n| x\\|y |"


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = results(cell("ours", 200, 300, cpu_ms=0.1, predict_ms=0.05), ours=Start([1.0], [100.0]))
    save(found, tmp_path)
    assert load("short", tmp_path) == found


def test_ratios_are_of_the_same_round() -> None:
    assert ratios([10, 30], [5, 10]) == [2, 3]


def test_no_figure_is_taken_after_the_time_is_up() -> None:
    with pytest.raises(TimeUp), Quiet(-1).alone():
        pass


def test_answers_agree_when_labels_are_identical_and_numbers_nearly() -> None:
    assert agree(["a", 1, 0.1], ["a", 1, 0.1 + 1e-15])
    assert not agree([0.1], [0.1 + 1e-9])
    assert not agree(["a"], ["b"])
    assert not agree([1], [1, 1])


def test_answers_are_read_from_each_protocol() -> None:
    assert predictions(b'{"predictions": [1, 2]}', {}) == [1, 2]
    assert outputs(b'{"outputs": [{"data": [1, 2]}]}', {}) == [1, 2]
    front = b'{"outputs": [{"datatype": "INT64", "parameters": {"binary_data_size": 16}}]}'
    body = front + np.array([1, 2], "<i8").tobytes()
    assert binary_outputs(body, {"inference-header-content-length": str(len(front))}) == [1, 2]
    with pytest.raises(SystemExit):
        binary_outputs(b'{"outputs": [{"datatype": "INT64", "data": [1, 2]}]}', {})


def test_a_letter_chooses_all_cases_of_its_name() -> None:
    assert [case.name for case in chosen(["D", "A"])] == ["D-xgboost", "D-lightgbm", "A"]
    with pytest.raises(SystemExit, match="Z is no case"):
        chosen(["Z"])


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_server_has_our_scikit_learn_and_hashes_and_no_index(lock: Path) -> None:
    """All load the same file, so all must have the version that wrote it."""
    pin = re.compile(r"^scikit-learn==(\S+)", re.MULTILINE)
    ours, theirs, text = pin.search((ROOT / "requirements/dev.txt").read_text()), pin.search(lock.read_text()), lock.read_text()
    assert ours is not None
    assert theirs is not None
    assert theirs[1] == ours[1]
    assert "--hash=sha256:" in text
    assert "://" not in text
