"""A TCP proxy before the API server, whose connections can be cut, or made to hang: they stay open and say nothing."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.cluster.cluster import Cluster


class Proxy:
    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket, threading.Event]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def hang(self) -> int:
        """Every connection that there is now forwards nothing more; new ones work. How many there were."""
        for _, _, hung in self._pairs:
            hung.set()
        return len(self._pairs)

    def cut(self) -> None:
        """Every connection that there is now breaks; new ones work."""
        for near, far, _ in self._pairs:
            _shut(near, far)

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target)
            except OSError:
                near.close()
                continue
            hung = threading.Event()
            self._pairs.append((near, far, hung))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(source, sink, hung), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, hung: threading.Event) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            if hung.is_set():
                return  # without closing anything
            sink.sendall(chunk)
    if not hung.is_set():
        _shut(source, sink)


def _shut(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxied(cluster: Cluster, kubeconfig: Path) -> Iterator[Proxy]:
    """A proxy before the cluster's API server, and a kubeconfig that goes through it."""
    config = json.loads(cluster.kubeconfig.read_text(encoding="utf-8"))
    server = config["clusters"][0]["cluster"]
    host, _, port = server["server"].removeprefix("https://").rpartition(":")
    proxy = Proxy((host, int(port)))
    server["server"] = f"https://127.0.0.1:{proxy.port}"
    kubeconfig.write_text(json.dumps(config), encoding="utf-8")
    try:
        yield proxy
    finally:
        proxy.close()
