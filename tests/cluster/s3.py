"""A real S3 server, versitygw over a folder, at an address that pods reach."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.cluster.binaries import built
from tests.cluster.network import in_namespace
from tests.cluster.place import Place
from tests.cluster.process import await_ready, start

PORT = 7070
REGION = "us-east-1"
ACCESS_KEY = "test-access"
SECRET_KEY = "test-secret"


@dataclass(frozen=True)
class S3:
    """A bucket is a folder of `folder`, an object a file in it: a test writes, overwrites and removes objects as files.

    A wrong secret is answered 403.
    """

    endpoint: str
    folder: Path
    region: str = REGION
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY

    @property
    def env(self) -> dict[str, str]:
        """What a Secret for `spec.model.credentials` holds."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ALLOW_HTTP": "true",
        }

    def bucket(self, name: str) -> Path:
        """Makes the bucket; objects are put into the folder that this gives."""
        bucket = self.folder / name
        bucket.mkdir(exist_ok=True)
        return bucket


def start_s3(place: Place, address: str) -> S3:
    """Starts the server, waits until it answers, and gives it without any bucket."""
    folder, metadata = place.state / "s3", place.state / "object-metadata"
    folder.mkdir()
    metadata.mkdir()  # beside the objects, as not every file system has extended attributes; refused when its path begins like theirs
    command: list[str | Path] = [built("versitygw"), "--port", f"{address}:{PORT}", "posix", "--sidecar", metadata, folder]
    process = start(place, "versitygw", command, {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY})
    await_ready(process, lambda: answers(place, address, PORT), place)
    return s3_of(place, address)


def s3_of(place: Place, address: str) -> S3:
    """The server that runs there."""
    return S3(f"http://{address}:{PORT}", place.state / "s3")


def answers(place: Place, address: str, port: int, path: str = "/") -> bool:
    """Whether a server in the cluster's network answers HTTP with anything but an error of its own."""
    with in_namespace(place), closing(HTTPConnection(address, port, timeout=2)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status < 500
        except (OSError, HTTPException):
            return False
