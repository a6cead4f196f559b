"""What the environment says about stores: each cloud's own names, where obstore does not know them; and whether a metadata server is asked.

obstore itself reads AWS_*, AZURE_* and GOOGLE_* as its configuration names them.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from dragoman.errors import InvalidSpec

METADATA_SECONDS = 2.0
AZURITE_ACCOUNT = "devstoreaccount1"

# What obstore calls it, and the names in the environment that obstore does not read itself, without their prefixes.
_ALIASES = {
    "s3": {},
    "az": {"account_name": "account", "account_key": "key"},  # AZURE_STORAGE_ACCOUNT, AZURE_STORAGE_KEY: the az CLI's
    "gs": {},
}
_CONNECTION_STRING = {
    "AccountName": "account_name",
    "AccountKey": "account_key",
    "BlobEndpoint": "endpoint",
    "SharedAccessSignature": "sas_key",
}
# With any of these (an option, or its name in the environment) no metadata server is needed.
_ENOUGH = {
    "s3": {
        "access_key_id", "skip_signature", "web_identity_token_file",
        "container_credentials_relative_uri", "container_credentials_full_uri",
    },
    "gs": {"service_account", "service_account_path", "service_account_key", "application_credentials", "bearer_token", "skip_signature"},
    "az": {
        "account_key", "access_key", "master_key", "sas_key", "sas_token", "token", "bearer_token", "client_secret", "federated_token_file",
        "use_azure_cli", "use_emulator", "skip_signature",
    },
}  # fmt: skip
_PREFIXES = {"s3": ("aws_",), "gs": ("google_",), "az": ("azure_", "storage_")}
_METADATA = {
    "s3": (("metadata_endpoint", "ec2_metadata_service_endpoint"), "http://169.254.169.254"),
    "gs": ((), "http://169.254.169.254"),
    "az": (("msi_endpoint", "identity_endpoint"), "http://169.254.169.254"),
}


def settings(scheme: str, options: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """What obstore's own reading of the environment, and the options, leave out: configuration keys and their values."""
    given = known(scheme, options, environ)
    found = {key: given[name] for key, name in _ALIASES[scheme].items() if name in given and key not in given}
    if "connection_string" in given and scheme == "az":
        found = {key: value for key, value in _of_connection_string(given["connection_string"]).items() if key not in given} | found
    emulator = environ.get("STORAGE_EMULATOR_HOST")  # Google's client libraries'
    if emulator and scheme == "gs" and "base_url" not in given:
        found["base_url"] = (emulator if "://" in emulator else f"http://{emulator}").rstrip("/")
        if not given.keys() & _ENOUGH["gs"]:
            found["skip_signature"] = "true"  # as those libraries do
    return found


def known(scheme: str, options: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """The environment's settings and the options, by obstore's lower-case names without the cloud's prefix; options win."""
    prefixes = _PREFIXES[scheme]
    named = {name.lower(): value for name, value in environ.items() if value and name.lower().startswith(prefixes[0])}
    return {_bare(key, prefixes): value for given in (named, options) for key, value in given.items()}


def needs_metadata(scheme: str, given: Mapping[str, str], environ: Mapping[str, str]) -> bool:
    """Whether nothing but the cloud's metadata server can give credentials."""
    if any(given.get(key, "").lower() not in ("", "false", "0", "no", "off") for key in _ENOUGH[scheme]):
        return False
    return scheme != "gs" or not google_default_file(environ).exists()


def google_default_file(environ: Mapping[str, str]) -> Path:
    """Where `gcloud auth application-default login` leaves its credentials."""
    return (
        Path(environ.get("CLOUDSDK_CONFIG") or Path(environ.get("HOME", "/")) / ".config" / "gcloud")
        / "application_default_credentials.json"
    )


def aws_profile(given: Mapping[str, str], environ: Mapping[str, str]) -> bool:
    """Whether credentials are to come from an AWS profile: one is named, or a profile file is there and nothing else is given."""
    if given.keys() & {"access_key_id", "skip_signature"}:
        return False
    if given.get("profile") or given.get("default_profile"):
        return True
    if given.keys() & _ENOUGH["s3"]:
        return False
    home = Path(environ.get("HOME", "/")) / ".aws"
    files = (given.get("shared_credentials_file") or home / "credentials", given.get("config_file") or home / "config")
    return any(Path(file).is_file() for file in files)


def metadata_answers(scheme: str, given: Mapping[str, str], seconds: float = METADATA_SECONDS) -> bool:
    """Whether the cloud's metadata server says anything at all within `seconds`: asked before obstore asks, which would wait for long."""
    if given.get("ec2_metadata_disabled", "").lower() == "true":
        return False
    keys, default = _METADATA[scheme]
    address = urlsplit(next((given[key] for key in keys if given.get(key)), default))
    try:
        with socket.create_connection((address.hostname or "", address.port or 80), timeout=seconds / 2) as connection:
            connection.settimeout(seconds / 2)
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n".encode())
            return bool(connection.recv(1))
    except (OSError, ValueError):
        return False


def _bare(key: str, prefixes: tuple[str, ...]) -> str:
    key = key.lower()
    for prefix in prefixes:
        key = key.removeprefix(prefix)
    return key


def _of_connection_string(text: str) -> dict[str, str]:
    parts = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    if parts.get("UseDevelopmentStorage", "").lower() == "true":
        return {"use_emulator": "true", "account_name": AZURITE_ACCOUNT}
    found = {key: parts[name] for name, key in _CONNECTION_STRING.items() if parts.get(name)}
    if "account_name" not in found:
        raise InvalidSpec("AZURE_STORAGE_CONNECTION_STRING: has no AccountName; copy it again from the storage account's access keys")
    return found
