"""Where a process that starts afresh begins: `python -m dragoman.entry`, with a `Boot` on its standard input."""

from __future__ import annotations

import os
import socket
import sys

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
    if boot.role == "examine":
        _examine(boot)
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
    """Load one model, predict with it, and write what was found to standard output."""
    from dragoman import examination

    load = boot.loads[0]
    manifest = next(m for m in boot.manifests if m.name == load.model)
    out = os.dup(1)
    os.dup2(2, 1)  # what the model's code prints is not the answer
    examined = examination.examine_safely(lambda: examination.loaded_and_examined(load, manifest, boot))
    with os.fdopen(out, "wb") as answer:
        answer.write(msgspec.json.encode(examined))


if __name__ == "__main__":
    main()
