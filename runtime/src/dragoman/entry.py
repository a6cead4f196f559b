"""Where a process that starts afresh begins: `python -m dragoman.entry`, with a `Boot` on its standard input."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from typing import IO

import msgspec

from dragoman.messages import Boot


def main() -> None:
    boot = msgspec.json.decode(sys.stdin.buffer.read(), type=Boot)
    from dragoman import logs, metrics

    logs.configure(boot.settings.log_format, boot.settings.log_level)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = boot.metrics_dir
    metrics.use()
    from dragoman import loader

    loader.set_threads(boot.settings.workers)
    if boot.role in _ANSWERS:
        _ANSWERS[boot.role](boot)
        return
    from dragoman.heartbeat import Heartbeats
    from dragoman.sockets import Sockets

    heartbeats = Heartbeats(boot.heartbeats_fd, boot.settings.workers)
    sockets = Sockets(socket.socket(fileno=boot.listener_fd), socket.socket(fileno=boot.reports_fd), boot.lifeline_fd, boot.grpc_address)
    if boot.role == "loader":
        loader.run(boot, socket.socket(fileno=boot.channel_fd), sockets, heartbeats)
        return
    from dragoman import worker
    from dragoman.registry import Outcome

    manifests = {m.name: m for m in boot.manifests}
    outcomes = {known.model: Outcome.of(manifests[known.model], known) for known in boot.known}
    loads = {load.model: load for load in boot.loads}
    worker.run(boot.index, boot, sockets, heartbeats, outcomes, loads, socket.socket(fileno=boot.channel_fd))


def _examine(boot: Boot) -> None:
    """Load one model, predict with it, and tell what was found."""
    from dragoman import examination

    load = boot.loads[0]
    manifest = next(m for m in boot.manifests if m.name == load.model)
    with _answer() as out:
        out.write(msgspec.json.encode(examination.examine_safely(lambda: examination.loaded_and_examined(load, manifest, boot))))


def _compile(boot: Boot) -> None:
    """Compile one model, and tell what came of it."""
    from dragoman import compilation

    assert boot.compile is not None
    model = boot.compile.load.model
    manifest = next(m for m in boot.manifests if m.name == model)
    with _answer() as out:
        compilation.answer(out, boot, boot.compile, manifest, None)


def _answer() -> IO[bytes]:
    """Where standard output was, which from now on is standard error: what the model's code prints is not the answer."""
    out = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(out, "wb")


_ANSWERS: dict[str, Callable[[Boot], None]] = {"examine": _examine, "compile": _compile}


if __name__ == "__main__":
    main()
