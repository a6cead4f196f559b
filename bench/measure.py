"""Servers side by side: rounds in which each is asked in turn, starts, memory."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import msgspec
from bench import wrk
from bench.cases import CASES, Case
from bench.contest import cpu_seconds, pss_bytes, yielding
from bench.findings import Cell, Results, Start
from bench.quiet import Quiet
from bench.servers import Server, Up, up

FAILURES = (SystemExit, OSError, ValueError, LookupError, subprocess.SubprocessError)  # of a server: it is left out, and the others go on


@dataclass(frozen=True)
class Pace:
    rounds: int
    seconds: int  # a round


def side_by_side(
    results: Results, quiet: Quiet, case: Case, servers: Sequence[Server], connections: Sequence[int], pace: Pace, workers: int = 1
) -> None:
    """All servers of a case are up at once, on core 0 (several workers: on both), and while one is asked the others leave it the core.

    Those that fail are left out, with the reason.
    """
    with ExitStack() as stack:
        living = [found for server in servers if (found := _up(stack, results, quiet, server, case, workers)) is not None]
        for count in connections:
            with quiet.alone():
                cells = {u.server.name: Cell(case.name, u.server.name, count, workers, []) for u in living}
                for one in list(living):
                    _others_yield(living, one)
                    if not _warmed(results, one, case, count):
                        living.remove(one)
                for turn in range(pace.rounds):
                    for one in _rotated(living, turn):
                        _others_yield(living, one)
                        load = _asked(results, one, case, count, pace.seconds)
                        if load is None:
                            living.remove(one)
                        else:
                            cells[one.server.name].loads.append(load)
                results.cells += [cell for cell in cells.values() if len(cell.loads) == pace.rounds]
            told = ", ".join(f"{name} {cell.middle('per_second'):.0f}" for name, cell in cells.items() if cell.loads)
            print(f"{case.name}, {count} connections, {workers} workers: {told}", flush=True)


def _up(stack: ExitStack, results: Results, quiet: Quiet, server: Server, case: Case, workers: int) -> Up | None:
    quiet.check()
    try:
        found = stack.enter_context(up(server, case, workers, 0 if workers == 1 else "0,1"))
    except FAILURES as error:
        leave_out(results, server, case, str(error))
        return None
    if found.settled:
        results.settled[case.name] = found.settled
    return found


def leave_out(results: Results, server: Server, case: Case, why: str) -> None:
    results.left_out[f"{server.label}, {case.name}"] = why
    print(f"left out: {server.label}, {case.name}: {why}", flush=True)


def _others_yield(living: Sequence[Up], asked: Up) -> None:
    """Servers that wait for their turn are not idle: the timers of some would be seen in the others' p99."""
    for one in living:
        yielding(one.pid, yields=one is not asked)


def _rotated(living: Sequence[Up], turn: int) -> list[Up]:
    """Whoever begins a round differs from round to round."""
    at = turn % max(1, len(living))
    return [*living[at:], *living[:at]]


def _warmed(results: Results, one: Up, case: Case, connections: int) -> bool:
    try:
        wrk.load(one.launch.base, one.question, connections, 1, warming=True)
    except FAILURES as error:
        leave_out(results, one.server, case, str(error))
        return False
    return True


def _asked(results: Results, one: Up, case: Case, connections: int, seconds: int) -> wrk.Load | None:
    try:
        cpu, inside = cpu_seconds(one.pid), _predict_seconds(one)
        load = wrk.load(one.launch.base, one.question, connections, seconds)
        spent = cpu_seconds(one.pid) - cpu
        after = _predict_seconds(one)
    except FAILURES as error:
        leave_out(results, one.server, case, str(error))
        return None
    predict_ms = None if inside is None or after is None else round((after - inside) / load.requests * 1000, 5)
    return msgspec.structs.replace(load, cpu_ms=round(spent / load.requests * 1000, 5), predict_ms=predict_ms)


def _predict_seconds(one: Up) -> float | None:
    """Spent in the model until now, of all workers; None where the server does not tell."""
    if not one.launch.management:
        return None
    with urllib.request.urlopen(one.launch.management + "/metrics", timeout=10) as reply:
        text = reply.read().decode()
    found = re.findall(r"^dragoman_predict_duration_seconds_sum\{[^}]*\} (\S+)$", text, re.MULTILINE)
    return sum(float(value) for value in found)


def starts(results: Results, quiet: Quiet, servers: Sequence[Server], rounds: int) -> None:
    """Case A, each server alone, on both cores; the first start of each warms the page cache and is not counted."""
    living = list(servers)
    for turn in range(rounds + 1):
        with quiet.alone():
            for server in list(living):
                try:
                    seconds, memory = start(server)
                except FAILURES as error:
                    leave_out(results, server, CASES["A"], f"start: {error}")
                    living.remove(server)
                    continue
                if turn:
                    found = results.starts.setdefault(server.name, Start([], []))
                    found.seconds.append(round(seconds, 3))
                    found.pss_mb.append(round(memory / 1e6, 1))
    for name, found in results.starts.items():
        print(f"start {name}: {found.seconds} s, {found.pss_mb} MB", flush=True)


def start(server: Server) -> tuple[float, int]:
    """Seconds to readiness; bytes after a second of requests."""
    with up(server, CASES["A"], 1, None) as one:
        wrk.load(one.launch.base, one.question, 4, 1)
        return one.ready_seconds, pss_bytes(one.pid)
