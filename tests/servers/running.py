"""A real server as a process of this test: started on a free port, waited for, ended by its handle, its log kept."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

HOST = "127.0.0.1"
TOOLS = Path(__file__).resolve().parents[2] / ".cache" / "tools"

INHERITED = ("PATH", "HOME", "TMPDIR", "LANG")  # nothing else: a developer's own cloud settings must not reach a server
STARTS_WITHIN_SECONDS = 30.0
ENDS_WITHIN_SECONDS = 5.0


class NotStarted(Exception):
    """A server ended, or kept silent, before it answered; the message holds the end of its log."""


def tool(path: str) -> Path:
    """A file that `make tools` has installed: `bin/versitygw`."""
    file = TOOLS / path
    if not file.exists():
        raise NotStarted(f"{file} is not there: run `make tools` (remove {TOOLS} first if it was there once)")
    return file


def free_ports(count: int = 3) -> list[int]:
    """Ports of the loopback address that nobody listens on at this moment."""
    with ExitStack() as open_together:  # so that they differ
        sockets = [open_together.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def running(
    command: Callable[[int], Sequence[str | Path]],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    ports: Iterable[int] | None = None,
    speaks: Callable[[int], bool] | None = None,
) -> Iterator[int]:
    """Runs `command(port)` until the block ends, and gives the port once the server answers HTTP there, with any status.

    `speaks(port)` tells a server that answers something else than HTTP.

    A port can be taken by somebody else between being chosen and being used: the next of `ports` is tried then.
    """
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ} | dict(env or {})
    for port in free_ports() if ports is None else ports:
        with log.open("ab") as output:
            process = subprocess.Popen(command(port), stdout=output, stderr=subprocess.STDOUT, env=environment, process_group=0)
        try:
            if _answers(process, port, speaks or _speaks_http):
                yield port
                return
            if process.poll() is None:
                break  # silent: another port would not help
        finally:
            _end(process)
    raise NotStarted(f"{command(0)[0]} did not start (exit code {process.returncode}); its log, {log}, ends:\n{_tail(log)}")


def _answers(process: subprocess.Popen[bytes], port: int, speaks: Callable[[int], bool]) -> bool:
    """Waits until the server answers. False: it has ended instead."""
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        if speaks(port):
            return process.poll() is None  # else the answer was somebody else's, whose port it is
        time.sleep(0.02)
    return False


def _speaks_http(port: int) -> bool:
    with closing(http.client.HTTPConnection(HOST, port, timeout=1)) as connection:
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        return True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(ENDS_WITHIN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(log: Path, lines: int = 40) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
