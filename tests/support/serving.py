"""`dragoman serve` as a child process, on free ports, for tests over a real socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

START_SECONDS = 90.0


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    rest: str
    grpc: str
    management: str
    log: Path

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.management}/status", timeout=10).json()
        return found

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples with that name whose labels include these."""
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        total = 0.0
        for line in httpx.get(f"{self.management}/metrics", timeout=10).text.splitlines():
            series, _, value = line.rpartition(" ")
            metric, _, rest = series.partition("{")
            if metric == name and wanted <= set(rest.rstrip("}").split(",")):
                total += float(value)
        return total

    def worker_pids(self) -> list[int]:
        return [w["pid"] for w in self.status()["workers"] if w["state"] == "Ready"]

    def predict(self, model: str, instances: Sequence[Any], **arguments: Any) -> httpx.Response:
        return httpx.post(f"{self.rest}/v1/models/{model}:predict", json={"instances": list(instances)}, timeout=30, **arguments)

    def terminate(self, timeout: float = 60) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "dragoman", *map(str, arguments)]


def environment(tmp_path: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A child's environment with a cache of its own."""
    return {**os.environ, "DRAGOMAN_CACHE_DIR": str(tmp_path / "cache"), **(extra or {})}


def run(
    tmp_path: Path, *arguments: str | Path, env: Mapping[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        command(*arguments),
        env=environment(tmp_path, env),
        timeout=timeout,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@contextmanager
def serving(
    tmp_path: Path, *arguments: str | Path, env: Mapping[str, str] | None = None, wait: bool = True, log_format: str = "json"
) -> Iterator[Server]:
    """A server that is ready (or, without `wait`, whose management port answers)."""
    log = tmp_path / f"serve-{time.monotonic_ns()}.log"
    ports = [item for flag in ("--port", "--grpc-port", "--management-port") for item in (flag, str(_free_port()))]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command("serve", *arguments, *ports, "--log-format", log_format),
            env=environment(tmp_path, env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    server = Server(process, f"http://127.0.0.1:{ports[1]}", f"127.0.0.1:{ports[3]}", f"http://127.0.0.1:{ports[5]}", log)
    try:
        _wait(server, "/readyz" if wait else "/livez")
        yield server
    except BaseException:
        sys.stderr.write(log.read_text(errors="replace")[-8000:])
        raise
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def eventually(condition: Any, seconds: float = 30.0, every: float = 0.05) -> Any:
    """The first true value that `condition()` gives; fails when none comes in time."""
    due = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < due, f"not within {seconds} s"
        time.sleep(every)


def manifest(folder: Path, name: str, uri: str | Path, **spec: Any) -> Path:
    """A ModelDeployment file. `spec` has the groups: model={...}, serving={...}."""
    model = {"uri": str(uri), **spec.pop("model", {})}
    document = {
        "apiVersion": "dragoman.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name},
        "spec": {"model": model, **spec},
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(document))
    return path


def _wait(server: Server, path: str) -> None:
    due = time.monotonic() + START_SECONDS
    while time.monotonic() < due:
        if server.process.poll() is not None:
            raise AssertionError(f"dragoman serve ended with {server.process.returncode}")
        try:
            if httpx.get(server.management + path, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{path} did not answer 200 within {START_SECONDS} s")


def _free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
