"""One network namespace for control plane, node and tests. No route leads out of it."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.binaries import debian
from tests.cluster.place import Place
from tests.cluster.process import inside

LOOPBACK = "127.0.0.1"
NODE_ADDRESS = "10.77.0.1"  # what the API server, the node, DNS, S3 and Prometheus listen on
POD_RANGE = "10.244.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
API_ADDRESS = "10.96.0.1"  # of the Service `kubernetes`

CLONE_NEWNET = 0x40000000
OWN = Path("/proc/thread-self/ns/net")


def make_namespace(place: Place) -> None:
    """A veth pair, both ends inside, carries the node's address and the default route: not every machine has dummy devices."""
    ip = debian("ip")
    namespace = namespace_path(place)
    _run(ip, "netns", "add", namespace.name)
    place.netns.symlink_to(namespace)
    within: tuple[str | Path, ...] = (*inside(place), ip)
    _run(*within, "link", "set", "lo", "up")
    _run(*within, "link", "add", "node0", "type", "veth", "peer", "name", "node0peer")
    _run(*within, "addr", "add", f"{NODE_ADDRESS}/24", "dev", "node0")
    _run(*within, "link", "set", "node0peer", "up")
    _run(*within, "link", "set", "node0", "up")
    _run(*within, "route", "add", "default", "dev", "node0")
    _run(*inside(place), debian("sysctl"), "-qw", "net.ipv4.ip_forward=1")


def remove_namespace(place: Place) -> None:
    if namespace_path(place).exists():
        _run(debian("ip"), "netns", "delete", namespace_path(place).name)


@contextmanager
def in_namespace(place: Place) -> Iterator[None]:
    """Sockets that this thread opens in the block (and the threads and processes it starts) are the namespace's, if there is one."""
    with namespace_kept():
        enter_namespace(place)
        yield


def enter_namespace(place: Place) -> None:
    """From now on this thread's new sockets are the namespace's, if there is one: for use within `namespace_kept()`."""
    if place.netns.exists():
        with _opened(place.netns) as theirs:
            _set_namespace(theirs)


@contextmanager
def namespace_kept() -> Iterator[None]:
    """Whatever namespace this thread enters in the block, it is back in its own afterwards."""
    with _opened(OWN) as own:
        before = OWN.readlink()
        try:
            yield
        finally:
            if OWN.readlink() != before:  # setns(2) wants root even to stay
                _set_namespace(own)


@contextmanager
def in_network_of(descriptor: int) -> Iterator[None]:
    """What this thread does in the block is in the network that an open /proc/…/ns/net stands for."""
    with namespace_kept():
        if Path(f"/proc/self/fd/{descriptor}").readlink() != OWN.readlink():
            _set_namespace(descriptor)
        yield


def namespace_path(place: Place) -> Path:
    return Path("/run/netns") / f"dragoman-{place.name}"


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _set_namespace(descriptor: int) -> None:
    """setns(2), which Python has from 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)
