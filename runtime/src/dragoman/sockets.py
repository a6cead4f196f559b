"""The sockets of a server: bound by the supervisor, inherited by everyone."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping

import msgspec

from dragoman.errors import AddressInUse

_WHY = {errno.EADDRINUSE: "is in use", errno.EACCES: "needs more rights", errno.EADDRNOTAVAIL: "is not an address of this machine"}


class Sockets(msgspec.Struct, frozen=True):
    """What every process of the server inherits."""

    listener: socket.socket  # REST, shared by the workers
    reports: socket.socket  # datagrams from workers to the supervisor
    lifeline: int  # read end of a pipe that closes when the supervisor is gone
    grpc_address: str


def bind(host: str, port: int, flag: str, *, reuse_port: bool = False) -> socket.socket:
    """A bound TCP socket that does not listen yet: connections are refused until the first worker is ready.

    Raises `AddressInUse`, whose message names the option that mends it: `flag`, or --host.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # IPPROTO_TCP: else asyncio leaves Nagle on
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((host, port))
    except (OSError, OverflowError) as error:
        sock.close()
        number = getattr(error, "errno", 0) or 0
        why = _WHY.get(number, f"cannot be used: {getattr(error, 'strerror', None) or error}")
        mend = "--host" if number == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror) else flag
        raise AddressInUse(f"{host}:{port} {why}: choose another with {mend}") from None
    return sock


def distinct(bound: Mapping[str, socket.socket]) -> None:
    """Refuse one port under two flags, which sockets that do not listen yet may share. Raises `AddressInUse`, with both flags."""
    flags: dict[int, str] = {}
    for flag, sock in bound.items():
        port = sock.getsockname()[1]
        if port in flags:
            raise AddressInUse(f"port {port} is given to both {flags[port]} and {flag}: choose another for one of them")
        flags[port] = flag


def address(host: str, sock: socket.socket) -> str:
    """`host:port` of a bound socket, IPv6 in brackets."""
    port = sock.getsockname()[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
