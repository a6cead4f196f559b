"""S3: versitygw over a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

import boto3
from tests.servers.objects import BUCKET, ObjectServer
from tests.servers.running import HOST, running, tool

ACCESS_KEY = "test-access"
SECRET_KEY = "test-secret"
REGION = "us-east-1"


@contextmanager
def versitygw(home: Path) -> Iterator[ObjectServer]:
    """An S3 server whose objects are files: `server.folder / bucket / key`. A file put there by hand is an object too, without an ETag.

    A wrong secret is answered 403, a wrong access key id 404 (as `XAdminUserNotFound`; AWS says 403 to both).
    """
    folder, metadata, log = home / "objects", home / "metadata", home / "versitygw.log"
    folder.mkdir(parents=True)
    metadata.mkdir()  # beside the objects: not every file system has extended attributes

    def command(port: int) -> list[str | Path]:
        return [tool("bin/versitygw"), "--port", f"{HOST}:{port}", "posix", "--sidecar", metadata, folder]

    with running(command, log=log, env={"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}) as port:
        endpoint = f"http://{HOST}:{port}"
        client = boto3.client(
            "s3", endpoint_url=endpoint, region_name=REGION, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY
        )

        def upload(key: str, file: BinaryIO) -> None:
            client.put_object(Bucket=BUCKET, Key=key, Body=file)

        with closing(client):
            client.create_bucket(Bucket=BUCKET)
            yield ObjectServer(
                scheme="s3",
                endpoint=endpoint,
                bucket=BUCKET,
                options={
                    "endpoint": endpoint,
                    "region": REGION,
                    "access_key_id": ACCESS_KEY,
                    "secret_access_key": SECRET_KEY,
                    "allow_http": "true",
                },
                env={
                    "AWS_ENDPOINT_URL": endpoint,
                    "AWS_REGION": REGION,
                    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
                    "AWS_ALLOW_HTTP": "true",
                },
                refused_options={"secret_access_key": "not-the-secret"},
                folder=folder,
                log=log,
                upload=upload,
            )
