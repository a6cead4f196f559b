"""How much memory the fetch process takes for a large model: its peak over that of a child that fetches one byte.

    python -m bench.fetch_memory [GIB]

Fetches an object of 2 GiB from versitygw on this machine, and prints both peaks (VmHWM), the difference, the bound and the rate.
Ends with 1 when the difference passes the bound.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.servers.s3 import versitygw

from dragoman.storage.request import Request

BOUND_MIB = 96
MIB = 1024 * 1024


def main(gib: float = 2) -> int:
    with tempfile.TemporaryDirectory(prefix="fetch-memory-") as work, versitygw(Path(work) / "s3") as server:
        large = server.folder / server.bucket / "large.bin"
        with large.open("wb") as file:
            file.truncate(int(gib * 1024 * MIB))
        os.utime(large, (1, 1))  # a file put there by hand has no ETag: an old time of change does instead
        cache = Path(work) / "cache"
        idle, _ = peak_mib(Request.of(server.put("one", b"1"), options=server.options, cache=cache))
        peak, seconds = peak_mib(Request.of(server.uri("large.bin"), options=server.options, cache=cache))
    print(f"fetching {gib:g} GiB: {peak:.1f} MiB at the peak, an idle child {idle:.1f}: {peak - idle:.1f} over (bound {BOUND_MIB})")
    print(f"{seconds:.1f} s, {gib * 1024 / seconds:.0f} MiB/s")
    return int(peak - idle > BOUND_MIB)


def peak_mib(request: Request) -> tuple[float, float]:
    """Peak resident memory of a child that answers a request, and how many seconds it took."""
    began = time.perf_counter()
    command = [sys.executable, "-P", "-m", "dragoman.storage.fetcher"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        print(json.dumps(request.to_json()), file=child.stdin, flush=True)
        for line in child.stdout:
            event = json.loads(line)
            if "error" in event:
                raise SystemExit(event["error"]["message"])
            if "result" in event:  # the child now waits for the end of its input
                seconds = time.perf_counter() - began
                status = Path(f"/proc/{child.pid}/status").read_text()
                child.stdin.close()
                peak = re.search(r"VmHWM:\s+(\d+) kB", status)
                assert peak is not None
                return int(peak[1]) / 1024, seconds
    raise SystemExit("the child ended without a result")


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:2])))
