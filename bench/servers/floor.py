"""The floor, as it is and with batching."""

from __future__ import annotations

from bench import contest
from bench.cases import Case, binary_outputs, binary_tensor, instances, predictions
from bench.floor import PATH
from bench.servers.server import Asked, Launch, Server


def _launch(case: Case, workers: int) -> Launch:
    command, base, _ = contest.floor(case.path, case.floor, workers)
    threads = {"OMP_NUM_THREADS": "1"} if workers > 1 else {}  # else the workers' threads wait for each other, spinning
    return Launch(command, base, base + "/readyz", threads)


def _launch_batched(case: Case, workers: int) -> Launch:
    command, base, _ = contest.floor(case.path, "batched", workers)
    return Launch(command, base, base + "/readyz")


def _ask(case: Case) -> Asked:
    if case.form == "binary":
        return Asked(binary_tensor(case, PATH), binary_outputs)
    return Asked(instances(case, PATH), predictions)


def _ask_batched(case: Case) -> Asked | None:
    return _ask(case) if case.floor == "arrays" else None


SERVERS = (
    Server("floor", "floor", _launch, _ask),
    Server("floor-batching", "floor with batching", _launch_batched, _ask_batched),
)
