"""Where a model is: a URI, taken apart."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from dragoman.errors import InvalidSpec

STORES = ("s3", "gs", "az")  # scheme://bucket/key
SCHEMES = (*STORES, "http", "https", "file")
_RELATED = {
    "s3a": "s3", "s3n": "s3", "gcs": "gs", "azure": "az", "abfs": "az", "abfss": "az", "adl": "az", "wasb": "az", "wasbs": "az",
}  # fmt: skip
_MENDS = {
    "pvc": "a claim is mounted by the operator: on a cluster leave the URI as it is, elsewhere give the folder's path",
    "hf": "download the model and give its path, or put it into object storage",
    "models": "export the model from the registry and give its path, or its place in object storage",
    "runs": "export the model from the run and give its path, or its place in object storage",
}


class Location(NamedTuple):
    """A URI's parts. `uri` is fit for messages: without user, password or query."""

    uri: str
    scheme: str  # one of SCHEMES; "file" for plain paths too
    bucket: str  # the bucket or container; "" for files and http
    key: str  # s3, gs, az: the object's key or the prefix, without a slash at either end; file: the path
    folder: bool  # a slash at its end says that it means a folder
    url: str = ""  # http, https: what to get, without user and password, with its query
    user: str | None = None  # http, https: "user:password", decoded

    def __repr__(self) -> str:
        return f"Location({self.uri!r})"  # a password, in `user`, or a token in `url`, is not repeated

    @property
    def local(self) -> bool:
        return self.scheme == "file"

    @property
    def path(self) -> Path:
        """The path of a local URI."""
        return Path(self.key)

    @property
    def name(self) -> str:
        """The last part, by which formats are told: `model.joblib`, `iris`; a bucket's name for the whole of it."""
        if self.local:
            return self.path.name or self.path.resolve().name or "model"
        return self.key.rstrip("/").rpartition("/")[2] or self.bucket or "model"

    def on_disk(self) -> str | None:
        """What a local URI names at this moment: "file", "folder", or None when nothing (readable) is there."""
        try:
            return "folder" if self.path.is_dir() else "file" if self.path.exists() else None
        except OSError:
            return None


def parse(uri: str) -> Location:
    """A URI or a path, taken apart. Raises `InvalidSpec`, without repeating a password."""
    if not uri or "\x00" in uri:
        raise InvalidSpec("the model's URI is empty; give a path or one of " + ", ".join(f"{s}://" for s in SCHEMES))
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return _local(uri, uri)
    return _parsers.get(scheme.lower(), _unknown)(scheme.lower(), rest, uri)


def redacted(uri: str) -> str:
    """A URI fit for messages: user, password, query and fragment of a URL are not repeated."""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme.lower() == "file":
        return uri
    host, slash, path = rest.partition("/")
    host = host.rpartition("@")[2]
    if scheme.lower() in ("http", "https"):
        host, path = re.split(r"[?#]", host)[0], re.split(r"[?#]", path)[0]
    return f"{scheme.lower()}://{host}{slash}{path}"


def _local(path: str, uri: str) -> Location:
    return Location(uri=uri, scheme="file", bucket="", key=path, folder=path.endswith("/"))


def _file(scheme: str, rest: str, uri: str) -> Location:
    path = unquote(rest)
    if path.startswith("localhost/"):
        path = path.removeprefix("localhost")
    if not path.startswith(("/", "./", "../")) and path not in (".", ".."):
        raise InvalidSpec(
            f"{uri}: has a host, {path.partition('/')[0]!r}; write file:///{path} for an absolute path or ./{path} for a relative one"
        )
    return _local(path, uri)


def _store(scheme: str, rest: str, uri: str) -> Location:
    bucket, _, key = rest.partition("/")
    shown = redacted(uri)
    if "@" in bucket:
        raise InvalidSpec(
            f"{shown}: credentials do not belong in a URI; set them in the environment, or name a secret in spec.model.credentials"
        )
    if not re.fullmatch(r"[A-Za-z0-9$][A-Za-z0-9._$-]*", bucket):
        raise InvalidSpec(f"{shown}: {bucket!r} cannot be a bucket; write {scheme}://bucket/path")
    stem = key.removesuffix("/")
    if any(part in ("", ".", "..") for part in stem.split("/")) and stem:
        raise InvalidSpec(f"{shown}: '//', '.' and '..' cannot stand in an object's key here; copy the model to a key without them")
    if re.search(r"[\x00-\x1f\x7f]", stem):
        raise InvalidSpec(f"{shown!r}: a control character cannot stand in an object's key here; copy the model to a key without it")
    return Location(uri=shown, scheme=scheme, bucket=bucket, key=stem, folder=key.endswith("/") or not key)


def _http(scheme: str, rest: str, uri: str) -> Location:
    shown = redacted(uri)
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidSpec(f"{shown}: not a URL: {error}") from None
    if not host:
        raise InvalidSpec(f"{shown}: has no host; write {scheme}://host/path")
    user = None if parts.username is None else f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    place = f"[{host}]" if ":" in host else host
    url = parts._replace(scheme=scheme, netloc=place if port is None else f"{place}:{port}", fragment="").geturl()
    key = unquote(parts.path).strip("/")
    return Location(uri=shown, scheme=scheme, bucket="", key=key, folder=parts.path.endswith("/") or not key, url=url, user=user)


def _unknown(scheme: str, rest: str, uri: str) -> Location:
    import difflib  # here: most schemes are known

    near = _RELATED.get(scheme) or next(iter(difflib.get_close_matches(scheme, SCHEMES, n=1)), None)
    mend = _MENDS.get(scheme) or (f"did you mean {near}://?" if near else "known: a path, " + ", ".join(f"{s}://" for s in SCHEMES))
    raise InvalidSpec(f"{redacted(uri)}: the scheme {scheme!r} is not known; {mend}")


_parsers = {**dict.fromkeys(STORES, _store), "http": _http, "https": _http, "file": _file}
