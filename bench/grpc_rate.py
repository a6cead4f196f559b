"""One row of iris over gRPC against REST, on one server: h2load asks all, over HTTP/2 and HTTP/1.1, from core 1.

The same protocol (v2) with the same tensor; and v1, whose messages are shorter.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import grpc
from bench.cases import CASES, agree
from bench.findings import Results
from bench.measure import Pace
from bench.quiet import Quiet
from bench.servers import SERVERS, up

from dragoman.proto import open_inference as proto

_METHOD = "/inference.GRPCInferenceService/ModelInfer"


def grpc_and_rest(results: Results, quiet: Quiet, pace: Pace, connections: int = 16) -> None:
    if shutil.which("h2load") is None:
        results.left_out["gRPC"] = "h2load is missing: apt-get install nghttp2-client"
        return
    case, server = CASES["A"], SERVERS["ours"]
    request = proto.ModelInferRequest(model_name=case.model)
    rows = request.inputs.add(name="input", datatype="FP64", shape=case.table.shape)
    rows.contents.fp64_contents.extend(case.table.ravel())
    message = request.SerializeToString()
    data = {"name": "input", "datatype": "FP64", "shape": case.table.shape, "data": case.table.ravel().tolist()}
    tensor = json.dumps({"inputs": [data]}).encode()
    with up(server, case, 1, 0) as one:
        target = one.launch.command[list(one.launch.command).index("--grpc-port") + 1]
        with grpc.insecure_channel(f"127.0.0.1:{target}") as channel:
            answer = proto.ModelInferResponse.FromString(channel.unary_unary(_METHOD)(message, timeout=30))
        if not agree(case.expected, list(answer.outputs[0].contents.int64_contents)):
            raise SystemExit(f"gRPC answers {answer}, the model {case.expected}")
        framed = b"\0" + len(message).to_bytes(4, "big") + message  # gRPC over HTTP/2: not compressed, its length, the message
        asked = {
            "gRPC, v2": (f"http://127.0.0.1:{target}{_METHOD}", framed, {"content-type": "application/grpc", "te": "trailers"}, ()),
            "REST, v2": (f"{one.launch.base}/v2/models/{case.model}/infer", tensor, {"content-type": "application/json"}, ("--h1",)),
            "REST, v1": (one.launch.base + one.question.path, one.question.body, one.question.headers, ("--h1",)),
        }
        with quiet.alone():
            for _ in range(pace.rounds):
                for name, (url, body, headers, options) in asked.items():
                    results.grpc.setdefault(name, []).append(rate(url, body, headers, connections, pace.seconds, options))
    print(f"gRPC: {results.grpc}", flush=True)


def rate(url: str, body: bytes, headers: Mapping[str, str], connections: int, seconds: int, options: tuple[str, ...]) -> float:
    """Requests a second, one at a time on each connection, after a second that does not count."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(body)
        command = ["taskset", "-c", "1", "h2load", *options, "-t1", f"-c{connections}", "-m1", f"-D{seconds}", "--warm-up-time=1"]
        named = [f"-H{name}: {value}" for name, value in headers.items()]
        text = subprocess.run(
            [*command, *named, "-d", file.name, url], capture_output=True, text=True, timeout=seconds + 60, check=True
        ).stdout
    found = re.search(r"finished in [\d.]+m?s, ([\d.]+) req/s", text)
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    if found is None or codes is None or int(codes[1]) == 0 or any(int(codes[i]) for i in (2, 3, 4)):
        raise SystemExit(f"{url}: not all replies were good:\n{text}")
    return float(found[1])
