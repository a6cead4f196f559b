"""What is asked, and wrk, which asks it again and again."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

JSON = {"content-type": "application/json"}
_SCRIPT = """
local file = io.open(BODY, 'rb')
wrk.method, wrk.body = 'POST', file:read('*a')
file:close()
for name, value in pairs(HEADERS) do wrk.headers[name] = value end
function done(summary, latency, requests)
  local wrong = summary.errors
  io.write(string.format(
    '\\nLOAD {"requests":%d,"seconds":%.6f,"refused":%d,"broken":%d,"p50":%.4f,"p90":%.4f,"p99":%.4f,"p999":%.4f}\\n',
    summary.requests, summary.duration / 1e6, wrong.status, wrong.connect + wrong.read + wrong.write + wrong.timeout,
    latency:percentile(50) / 1e3, latency:percentile(90) / 1e3, latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3))
end
"""


@dataclass(frozen=True)
class Question:
    """One request."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)


class Load(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of asking for some seconds. Latencies in milliseconds."""

    requests: int
    seconds: float
    p50: float
    p90: float
    p99: float
    p999: float
    refused: int = 0  # replies that are not 2xx or 3xx
    broken: int = 0  # connections that failed
    cpu_ms: float = 0.0  # a request: of all the server's processes, user and system
    predict_ms: float | None = None  # a request: inside the model, where the server tells it

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def load(base: str, question: Question, connections: int, seconds: int, core: int = 1, *, warming: bool = False) -> Load:
    """Asks over so many connections, one request at a time on each, from one core. Ends with an error when a reply is not good.

    `warming`: it need not have answered when the time is up.
    """
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder) / "body", Path(folder) / "ask.lua"
        body.write_bytes(question.body)
        headers = ", ".join(f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in question.headers.items())
        script.write_text(f"local BODY, HEADERS = {json.dumps(str(body))}, {{{headers}}}\n{_SCRIPT}", encoding="utf-8")
        command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
        reply = subprocess.run([*command, base + question.path], capture_output=True, text=True, timeout=seconds + 60, check=False)
    found = re.search(r"^LOAD (.*)$", reply.stdout, re.MULTILINE)
    if found is None:
        raise SystemExit(f"wrk failed on {base + question.path}: {reply.stdout}{reply.stderr}")
    measured = msgspec.json.decode(found[1], type=Load)
    if measured.refused or measured.broken or not (measured.requests or warming):
        raise SystemExit(f"{base + question.path}: not all replies were good: {measured}")
    return measured
