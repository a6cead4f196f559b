"""Ports that cannot be had are refused with the flag that mends it."""

from __future__ import annotations

import pytest

from dragoman.errors import AddressInUse
from dragoman.sockets import bind, distinct


def test_one_port_under_two_flags_is_refused_with_both() -> None:
    with bind("127.0.0.1", 0, "--port") as rest:
        port = rest.getsockname()[1]
        with bind("127.0.0.1", port, "--grpc-port") as grpc, pytest.raises(AddressInUse, match=f"port {port} .* --port and --grpc-port"):
            distinct({"--port": rest, "--grpc-port": grpc})


def test_a_host_that_is_not_here_is_mended_by_another_host() -> None:
    with pytest.raises(AddressInUse, match=r"192\.0\.2\.1:0 is not an address of this machine: choose another with --host"):
        bind("192.0.2.1", 0, "--port")
