"""Google Cloud Storage: fake-gcs-server over a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx
from tests.servers.objects import BUCKET, ObjectServer
from tests.servers.running import HOST, running, tool


@contextmanager
def fake_gcs(home: Path) -> Iterator[ObjectServer]:
    """A Google Cloud Storage server, which lets anybody in.

    Its options are a service account that has no key and asks no token: a store without one asks the cloud's metadata address.
    """
    folder, log = home / "objects", home / "fake-gcs-server.log"
    folder.mkdir(parents=True)

    def command(port: int) -> list[str | Path]:
        address = ["-scheme", "http", "-host", HOST, "-port", str(port), "-public-host", f"{HOST}:{port}"]
        return [tool("bin/fake-gcs-server"), *address, "-backend", "filesystem", "-filesystem-root", folder, "-data", ""]

    with running(command, log=log) as port, httpx.Client(base_url=f"http://{HOST}:{port}", trust_env=False) as client:
        endpoint = f"http://{HOST}:{port}"
        account = {"gcs_base_url": endpoint, "disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
        client.post("/storage/v1/b", params={"project": "test"}, json={"name": BUCKET}).raise_for_status()

        def upload(key: str, file: BinaryIO) -> None:
            where = {"uploadType": "media", "name": key}
            client.post(f"/upload/storage/v1/b/{BUCKET}/o", params=where, content=file).raise_for_status()

        yield ObjectServer(
            scheme="gs",
            endpoint=endpoint,
            bucket=BUCKET,
            options={"service_account_key": json.dumps(account), "allow_http": "true"},
            env={"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account), "GOOGLE_ALLOW_HTTP": "true"},
            refused_options=None,
            folder=folder,
            log=log,
            upload=upload,
        )
