"""What the processes of a server say to each other: one JSON object a line, or a datagram."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import msgspec

from dragoman.manifest import ModelDeployment, State
from dragoman.settings import Settings


class Message(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The root of all messages; `type` tells them apart on the wire."""


# --- supervisor to loader ---


class Load(Message, frozen=True):
    """Load this model from these checked bytes. `own`: do not keep it, each worker loads for itself."""

    model: str
    path: str
    name: str  # the last part of the URI
    digest: str
    own: bool = False


class Fail(Message, frozen=True):
    """This model is not to be loaded: it failed before it came so far."""

    model: str
    reason: str
    message: str


class Spawn(Message, frozen=True):
    index: int


class CloseSockets(Message, frozen=True):
    """A drain has begun: let go of the listening sockets."""


# --- loader to supervisor ---


class Loading(Message, frozen=True):
    model: str


class Loaded(Message, frozen=True):
    model: str
    format: str
    seconds: float
    own: bool
    versions: dict[str, str] = {}
    warnings: list[str] = []
    examples: list[str] = []  # a curl command for each enabled dialect, with {url} for the server's address


class LoadFailed(Message, frozen=True):
    model: str
    reason: str
    message: str


class NeedsOwn(Message, frozen=True):
    """The model did not survive a fork. This loader is spoiled: a fresh one must let each worker load it for itself."""

    model: str
    message: str


class Spawned(Message, frozen=True):
    index: int
    pid: int


class Exited(Message, frozen=True):
    """`status` as waitpid gives it."""

    pid: int
    status: int


# --- worker to supervisor ---


class Ready(Message, frozen=True):
    index: int
    pid: int


class WorkerEnded(Message, frozen=True):
    """A worker cannot serve, and says why before it ends."""

    index: int
    pid: int
    reason: str
    message: str


ToLoader = Load | Fail | Spawn | CloseSockets
FromLoader = Loading | Loaded | LoadFailed | NeedsOwn | Spawned | Exited
FromWorker = Ready | WorkerEnded

to_loader = msgspec.json.Decoder(ToLoader)
from_loader = msgspec.json.Decoder(FromLoader)
from_worker = msgspec.json.Decoder(FromWorker)


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What has become known of a model: for a worker that starts afresh. `signature` is its JSON."""

    model: str
    state: State
    reason: str = ""
    message: str = ""
    digest: str = ""
    format: str = ""
    signature: bytes = b"{}"
    rows_independent: bool = False
    authored: dict[str, Any] = {}


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """What a loader or worker that starts as a fresh process is given, on its standard input; descriptors are inherited."""

    role: str  # loader, worker, examine
    manifests: list[ModelDeployment]
    settings: Settings
    metrics_dir: str
    kept_dir: str  # where the replies of deferred predicts wait to be fetched, whichever worker made them
    listener_fd: int
    heartbeats_fd: int
    reports_fd: int
    lifeline_fd: int
    channel_fd: int = -1
    grpc_address: str = ""
    index: int = 0
    loads: list[Load] = []
    known: list[Known] = []


def described(status: int) -> str:
    """How a process ended, in words, from waitpid's status."""
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit code {os.waitstatus_to_exitcode(status)}"


def encode(message: Message) -> bytes:
    return msgspec.json.encode(message)


class LineChannel:
    """Messages over a stream socket, one a line."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._pending = b""

    def send(self, message: Message) -> None:
        self.socket.sendall(encode(message) + b"\n")

    def receive(self) -> Iterator[bytes]:
        """The lines that one read brings. Raises EOFError when the other side is gone."""
        chunk = self.socket.recv(1 << 16)
        if not chunk:
            raise EOFError
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        yield from lines
