"""What obstore's errors mean: an error that ends the fetch, a breakage that may pass, or a reason to read in another way.

obstore tells kinds by its exceptions' types, and the rest (HTTP status, cause) in a text; that text is taken apart here and
nowhere else, and never repeated whole: it holds URLs with their signatures.
"""

from __future__ import annotations

import re

from dragoman.errors import AccessDenied, InvalidSpec, ModelNotFound, ServeError
from dragoman.storage.uri import Location


class Broken(Exception):
    """May pass: a connection that broke or stalled, a busy or failing server. `str()` says which."""


class RangesIgnored(Exception):
    """The server does not give the part that was asked for: the whole must be read in one go."""


class Changed(Exception):
    """What is being fetched is not what it was when the fetch began."""


_WEB = "renew a signed URL, or give user and password as https://user:password@host/path"
_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (with the extra dragoman[s3])",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS to a key file, or run `gcloud auth application-default login`",
    "az": "set AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or AZURE_USE_AZURE_CLI=true after `az login`",
    "http": _WEB,
    "https": _WEB,
}
_PUBLIC = '; for what is public, set the storage option skip_signature: "true"'
_METADATA = ("169.254.", "metadata.google.internal", "/computeMetadata/", "/latest/api/token", "/metadata/identity")
_TOKEN_SERVICES = re.compile(r"//sts[.-][^/]*amazonaws|oauth2|login\.microsoftonline|iamcredentials")
_BUSY = {408, 425, 429}
_DENIED_CODES = {  # S3's, whatever their status; the last is versitygw's, for an unknown access key
    "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId", "SignatureDoesNotMatch", "XAdminUserNotFound",
}  # fmt: skip
_KINDS = {
    "Timeout": "it did not answer in time",
    "Connect": "it could not be reached",
    "Interrupted": "the connection broke",
    "Decode": "the connection broke",
}
_UNREACHED = (  # why a connection was not made: what Rust's libraries say, and what it means
    (re.compile(r"ConnectionRefused|Connection refused"), "connection refused: check host and port"),
    (re.compile(r"dns error|failed to lookup address"), "its host name is not known: check the URI"),
    (re.compile(r"HostUnreachable|No route to host|NetworkUnreachable|Network is unreachable"), "there is no route to it"),
)


def failure(error: BaseException, location: Location) -> Exception:
    """What an obstore error means for a location: to be raised in its place."""
    text, kind = str(error), type(error).__name__
    status = _status(text)
    if any(mark in text.partition("Debug source")[0] for mark in _METADATA):
        return no_credentials(location)
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or status in (401, 403) or _code(text) in _DENIED_CODES:
        return _denied(location, text)
    if kind == "FileNotFoundError" or status in (404, 410):
        return ModelNotFound(f"{location.uri}: not found{_said(text)}; check the URI")
    if kind == "PreconditionError" or status == 416:
        return Changed()
    if "RangeNotSupported" in text or "UnexpectedRange" in text:
        return RangesIgnored()
    return _permanent(text, kind, status, location) or Broken(_cause(text, status))


def unusable(error: BaseException, location: Location) -> ServeError:
    """The error for a store that cannot even be opened: its options, or what the environment says, are wrong."""
    first = _first_line(str(error))
    unknown = re.search(r"Configuration key: '(.*?)' is not valid for store '(.*?)'", first)
    if unknown:
        return InvalidSpec(
            f"{location.uri}: spec.model.storage.options: {unknown[1]!r} is not an option of {unknown[2]}; see docs/storage.md"
        )
    return InvalidSpec(f"{location.uri}: cannot be opened with these options and this environment: {first}")


def no_credentials(location: Location) -> AccessDenied:
    return AccessDenied(
        f"{location.uri}: no credentials were found, and no metadata server gives any; {_CREDENTIALS[location.scheme]}{_PUBLIC}"
    )


def _denied(location: Location, text: str) -> AccessDenied:
    public = "" if location.scheme in ("http", "https") else _PUBLIC
    unlisted = (
        " (or it is not there, and they may not list the bucket)" if location.scheme == "s3" and _code(text) == "AccessDenied" else ""
    )
    return AccessDenied(f"{location.uri}: access denied{_said(text)}{unlisted}; {_CREDENTIALS[location.scheme]}{public}")


def _permanent(text: str, kind: str, status: int | None, location: Location) -> ServeError | None:
    """What another try cannot mend, of the rest."""
    if status is not None and 400 <= status < 500 and status not in _BUSY and _TOKEN_SERVICES.search(text.partition("\n")[0]):
        return _denied(location, text)
    if "MissingContentLength" in text:
        return InvalidSpec(f"{location.uri}: the server does not say how long the file is (no Content-Length); serve it from one that does")
    if "source: Header {" in text:
        return InvalidSpec(f"{location.uri}: the server's answer has a header that cannot be read: {_first_line(text)}")
    if "BareRedirect" in text or _code(text) in ("AuthorizationHeaderMalformed", "PermanentRedirect"):
        return InvalidSpec(f"{location.uri}: the bucket is in another region; set AWS_REGION or the storage option region")
    if "kind: Builder" in text or "BadScheme" in text:
        return InvalidSpec(f'{location.uri}: its server is asked over plain http; allow that with the storage option allow_http: "true"')
    if re.search(r"(?i)certificate", text):
        return InvalidSpec(
            f"{location.uri}: the server's certificate is not trusted; set the storage option root_certificate to your CA's, as PEM"
        )
    if kind in ("InvalidPathError", "ValueError", "PanicException"):
        return InvalidSpec(f"{location.uri}: cannot be asked for: {_first_line(text)}")
    if status is not None and 300 <= status < 500 and status not in _BUSY:
        return InvalidSpec(f"{location.uri}: the server refuses{_said(text)}; check the URI and the storage options")
    return None


def _cause(text: str, status: int | None) -> str:
    if status is not None:
        return f"the server answered{_said(text)}".replace(" (", " ").rstrip(")")
    kind = re.search(r"kind: (Timeout|Connect|Interrupted|Decode)\b", text)
    if not kind:
        return _first_line(text)
    why = next((f" ({meaning})" for mark, meaning in _UNREACHED if mark.search(text)), "") if kind[1] == "Connect" else ""
    return f"{_KINDS[kind[1]]}{why}"


def _said(text: str) -> str:
    """What the server said: ` (403 Forbidden, SignatureDoesNotMatch)`."""
    status = re.search(r"status code: (\d{3}(?: [A-Z][A-Za-z ]*)?)", text)
    parts = [part for part in (status[1].strip() if status else None, _code(text)) if part]
    return f" ({', '.join(parts)})" if parts else ""


def _status(text: str) -> int | None:
    found = re.search(r"status code: (\d{3})", text)
    return int(found[1]) if found else None


def _code(text: str) -> str | None:
    """The code in the reply's body, as S3 and Azure write it."""
    found = re.search(r"<Code>([A-Za-z]\w{0,80})</Code>", text)
    return found[1] if found else None


def _first_line(text: str) -> str:
    line = text.partition("\n")[0].partition("Debug source")[0].strip()
    return re.sub(r"\w+://\S+", "(a URL)", line)[:300]
