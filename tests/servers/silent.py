"""A TCP server that accepts connections, reads, and says nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.servers.running import HOST


@contextmanager
def silent() -> Iterator[int]:
    """Its port."""
    with socket.create_server((HOST, 0)) as listener:
        held: list[socket.socket] = []
        closing = threading.Event()

        def accept() -> None:
            while True:
                connection, _ = listener.accept()
                held.append(connection)
                if closing.is_set():
                    return

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            closing.set()
            with suppress(OSError):
                socket.create_connection(listener.getsockname()).close()  # wakes accept
            accepting.join()
            for connection in held:
                connection.close()
