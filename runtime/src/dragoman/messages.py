"""What the processes of a server say to each other: one JSON object a line, or a datagram."""

from __future__ import annotations

import os
import signal
import socket
from collections import deque
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from dragoman.compiled import Compiled, Made
from dragoman.examined import Examined
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
    """Fork a worker. With the message comes a descriptor: the worker's end of its channel to the supervisor."""

    index: int


class Examine(Message, frozen=True):
    """Load this model and predict with it, in a child that ends: what is found comes back as `Found`. The loader goes on meanwhile."""

    ticket: int
    load: Load
    timeout_seconds: float


class Compile(Message, frozen=True):
    """Compile this model in a child that ends, or find in the cache what was made before: `Ended` says what came of it.

    `cache`: the model cache's folder, of at most `cache_bytes`; `scratch`: where it is kept when that cannot be written.
    """

    ticket: int
    load: Load
    cache: str
    cache_bytes: int
    scratch: str
    timeout_seconds: float


class StopCompiling(Message, frozen=True):
    """Nobody wants it any more. `Ended` comes all the same."""

    ticket: int


class CloseSockets(Message, frozen=True):
    """A drain has begun: let go of the listening sockets."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What has become known of a model. `signature` is its JSON."""

    model: str
    state: State
    reason: str = ""
    message: str = ""
    digest: str = ""
    format: str = ""
    signature: bytes = b"{}"
    rows_independent: bool = False
    authored: dict[str, Any] = {}
    on_demand: bool = False  # it is brought into memory when a request comes


class Follow(Message, frozen=True):
    """What holds for a model from now on. To each worker, which answers `Followed`; to the loader for workers to come.

    `load`: the files to load it from; `hold`: a worker has it in memory from now on. A loader drops its own copy, and workers that it forks
    from now on load for themselves what has a `load`.
    """

    known: Known
    load: Load | None = None
    hold: bool = False
    ticket: int = 0
    retry_seconds: float = 0.0  # after which asking again may help, where the model failed


# --- loader to supervisor ---


class Loading(Message, frozen=True):
    model: str


class Loaded(Message, frozen=True):
    model: str
    format: str
    seconds: float
    own: bool
    known: Known
    versions: dict[str, str] = {}
    warnings: list[str] = []
    examples: list[str] = []  # a curl command for each enabled dialect, with {url} for the server's address


class Found(Message, frozen=True):
    """What an `Examine` brought; `examined.reason` where the model cannot be served."""

    ticket: int
    seconds: float
    examined: Examined
    examples: list[str] = []


class Compiling(Message, frozen=True):
    """There is nothing in the cache: that child is making it."""

    ticket: int
    pid: int


class Ended(Message, frozen=True):
    """What a `Compile` came to."""

    ticket: int
    made: Made


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


# --- worker to supervisor and back, over the worker's own channel ---


class Ask(Message, frozen=True):
    """`bring`: a request came for a model that is not in this worker's memory; a `Follow` answers. The others: an administrator's word,
    which an `Answered` answers once every worker has followed."""

    verb: Literal["bring", "load", "unload"]
    model: str
    ticket: int = 0


class Answered(Message, frozen=True):
    """`reason`: why it could not be done, of a `ServeError`; "" where it was."""

    ticket: int
    reason: str = ""
    message: str = ""


class TakeUp(Message, frozen=True):
    """Answer small batches by this compiled model, if these are the bytes that are in memory. `TakenUp` answers."""

    ticket: int
    model: str
    digest: str
    folder: str
    compiled: Compiled


class PutDown(Message, frozen=True):
    """The original answers all from now on."""

    model: str


class TakenUp(Message, frozen=True):
    """`used`: the compiled model answers in this worker from now on; it took `memory_bytes`. `reason`: why it is not used, though it
    was to be; "" where the model itself has left this worker's memory. `failed`: it could not even be tried."""

    ticket: int
    model: str
    used: bool
    memory_bytes: int = 0
    reason: str = ""
    failed: bool = False


class Followed(Message, frozen=True):
    """`held`: the model is in this worker's memory. `reason`: why it is not, though it was to be."""

    ticket: int
    model: str
    held: bool
    reason: str = ""
    message: str = ""


class Dropped(Message, frozen=True):
    """Another model took this one's place in memory, for which the `Follow` with that ticket had brought it."""

    model: str
    ticket: int


ToLoader = Load | Fail | Spawn | CloseSockets | Examine | Follow | Compile | StopCompiling
FromLoader = Loading | Loaded | LoadFailed | NeedsOwn | Spawned | Exited | Found | Compiling | Ended
FromWorker = Ready | WorkerEnded
ToFollower = Follow | Answered | TakeUp | PutDown
FromFollower = Ask | Followed | Dropped | TakenUp

to_loader = msgspec.json.Decoder(ToLoader)
from_loader = msgspec.json.Decoder(FromLoader)
from_worker = msgspec.json.Decoder(FromWorker)
to_follower = msgspec.json.Decoder(ToFollower)
from_follower = msgspec.json.Decoder(FromFollower)


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """What a loader or worker that starts as a fresh process is given, on its standard input; descriptors are inherited."""

    role: str  # loader, worker, examine, compile
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
    compile: Compile | None = None


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
        self.descriptors: deque[int] = deque()  # that came with messages, in their order
        self._pending = b""

    def send(self, message: Message, descriptor: int | None = None) -> None:
        line = encode(message) + b"\n"
        if descriptor is None:
            self.socket.sendall(line)
        else:
            socket.send_fds(self.socket, [line], [descriptor])

    def receive(self, *, wait: bool = True) -> Iterator[bytes]:
        """The lines that one read brings. Raises EOFError when the other side is gone, BlockingIOError where it is not to `wait`."""
        if wait:
            chunk, descriptors, _, _ = socket.recv_fds(self.socket, 1 << 16, 16)
            self.descriptors += descriptors
        else:
            chunk = self.socket.recv(1 << 16, socket.MSG_DONTWAIT)  # recv_fds passes no flags on
        if not chunk:
            raise EOFError
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        yield from lines
