"""memcached, Debian's: a real one, which can be stopped and started again at the same address."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tests.servers.running import HOST, NotStarted, running


@dataclass(frozen=True)
class MemcachedServer:
    port: int

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def put(self, key: str, value: bytes) -> None:
        """Stores a value, as any client would."""
        with self._connection() as wire:
            wire.write(b"set %b 0 0 %d\r\n%b\r\n" % (key.encode(), len(value), value))
            wire.flush()
            assert wire.readline() == b"STORED\r\n"

    def get(self, key: str) -> bytes | None:
        with self._connection() as wire:
            wire.write(b"get %b\r\n" % key.encode())
            wire.flush()
            said = wire.readline().split()
            return None if said == [b"END"] else wire.read(int(said[3]))

    @contextmanager
    def _connection(self) -> Iterator[BinaryIO]:
        with socket.create_connection((HOST, self.port), timeout=10) as opened, opened.makefile("rwb") as wire:
            yield wire  # type: ignore[misc]


@contextmanager
def memcached(home: Path, port: int | None = None) -> Iterator[MemcachedServer]:
    """One of its own, on any free port, or on that one."""
    program = shutil.which("memcached")
    if program is None:
        raise NotStarted("memcached is not on this machine: apt-get install memcached (or, as root, make tools DRAGOMAN_APT=1)")

    def command(port: int) -> list[str | Path]:
        return [program, "-u", "nobody", "-l", HOST, "-p", str(port), "-U", "0", "-m", "16", "-t", "1"]

    with running(command, log=home / "memcached.log", ports=None if port is None else [port], speaks=_speaks) as at:
        yield MemcachedServer(at)


def _speaks(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1) as opened:
        opened.sendall(b"version\r\n")
        return opened.recv(64).startswith(b"VERSION")
    return False
