"""Azure Blob Storage: azurite."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from azure.storage.blob import BlobServiceClient
from tests.servers.objects import BUCKET, ObjectServer
from tests.servers.running import HOST, running, tool

ACCOUNT = "testaccount"


@contextmanager
def azurite(home: Path) -> Iterator[ObjectServer]:
    """An Azure Blob Storage server with an account and a container of its own. Its folder holds extents, not files by name."""
    folder, log = home / "blobs", home / "azurite.log"
    folder.mkdir(parents=True)
    key, wrong_key = (base64.b64encode(secrets.token_bytes(64)).decode() for _ in range(2))

    def command(port: int) -> list[str | Path]:
        program = tool("node/node_modules/azurite/dist/src/blob/main.js")
        address: list[str | Path] = ["--blobHost", HOST, "--blobPort", str(port), "--location", folder]
        return [tool("bin/node"), program, *address, "--skipApiVersionCheck", "--disableTelemetry"]

    with running(command, log=log, env={"AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"}) as port:
        endpoint = f"http://{HOST}:{port}/{ACCOUNT}"
        with BlobServiceClient(endpoint, credential={"account_name": ACCOUNT, "account_key": key}) as client:
            container = client.create_container(BUCKET)

            def upload(key: str, file: BinaryIO) -> None:
                container.upload_blob(key, file, overwrite=True)

            yield ObjectServer(
                scheme="az",
                endpoint=endpoint,
                bucket=BUCKET,
                options={"account_name": ACCOUNT, "account_key": key, "endpoint": endpoint, "allow_http": "true"},
                env={
                    "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
                    "AZURE_STORAGE_ACCOUNT_KEY": key,
                    "AZURE_STORAGE_ENDPOINT": endpoint,
                    "AZURE_ALLOW_HTTP": "true",
                },
                refused_options={"account_key": wrong_key},
                folder=folder,
                log=log,
                upload=upload,
            )
