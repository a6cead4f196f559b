"""Processes of a server that start afresh instead of being forked: a replacement loader, and everything on macOS.

`python -m dragoman.entry` reads a `Boot` on its standard input and inherits the descriptors that it names.
"""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec

from dragoman.messages import Boot


def start(boot: Boot, *, capture: bool = False) -> subprocess.Popen[bytes]:
    """Start a process in the role that `boot` names; `capture` gives its standard output as a pipe."""
    fds = [boot.listener_fd, boot.heartbeats_fd, boot.reports_fd, boot.lifeline_fd, boot.channel_fd]
    child = subprocess.Popen(
        [sys.executable, "-m", "dragoman.entry"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if capture else None,
        pass_fds=[fd for fd in fds if fd >= 0],
        env=os.environ,
    )
    assert child.stdin is not None
    child.stdin.write(msgspec.json.encode(boot))
    child.stdin.close()
    child.returncode = 0  # it is reaped by its pid, as forked children are; Popen need not mind it
    return child
