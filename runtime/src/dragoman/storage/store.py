"""Opens the obstore store of a remote location, with options and credentials as its cloud's own tools find them. Imports obstore."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import obstore
import obstore.store

from dragoman.errors import AccessDenied, InvalidSpec, MissingLibrary
from dragoman.storage import credentials
from dragoman.storage.failures import no_credentials, unusable
from dragoman.storage.uri import Location

# obstore's ClientConfig: options of the connection, whatever the store.
CLIENT_OPTIONS = {
    "allow_http", "allow_invalid_certificates", "connect_timeout", "http1_only", "http2_only", "pool_idle_timeout",
    "pool_max_idle_per_host", "proxy_url", "proxy_ca_certificate", "proxy_excludes", "randomize_addresses", "read_timeout",
    "root_certificate", "timeout", "user_agent",
}  # fmt: skip
_ENDPOINTS = ("endpoint", "endpoint_url", "endpoint_url_s3", "base_url")
_NO_RETRIES: Any = {"max_retries": 0}  # remote.py retries: it knows where to go on, and tells
_STORES = {"s3": obstore.store.S3Store, "gs": obstore.store.GCSStore, "az": obstore.store.AzureStore}


@dataclass(frozen=True)
class Opened:
    """A store, and the path of the location's object in it ("" where the store itself is the object)."""

    store: Any
    path: str


def open_store(location: Location, options: Mapping[str, str], stall_seconds: float, environ: Mapping[str, str] = os.environ) -> Opened:
    """Opens a store. Raises `InvalidSpec` (options, environment), `AccessDenied` (no credentials), `MissingLibrary` (boto3)."""
    client = _client(options, stall_seconds)
    options = {key: value for key, value in options.items() if key.lower() not in CLIENT_OPTIONS}
    try:
        if location.scheme in ("http", "https"):
            return _open_http(location, options, client)
        return _open_bucket(location, options, client, environ)
    except (obstore.exceptions.BaseError, ValueError, OSError) as error:
        raise unusable(error, location) from error


def _open_http(location: Location, options: Mapping[str, str], client: Any) -> Opened:
    if options:
        raise InvalidSpec(
            f"{location.uri}: spec.model.storage.options: {min(options)!r} is not an option of {location.scheme}; see docs/storage.md"
        )
    client["allow_http"] = location.scheme == "http"
    if location.user is not None:
        client["default_headers"] = {"authorization": "Basic " + base64.b64encode(location.user.encode()).decode()}
    return Opened(obstore.store.HTTPStore(location.url, client_options=client, retry_config=_NO_RETRIES), "")


def _open_bucket(location: Location, options: Mapping[str, str], client: Any, environ: Mapping[str, str]) -> Opened:
    scheme = location.scheme
    found = credentials.settings(scheme, options, environ)
    given = {**credentials.known(scheme, options, environ), **found}
    config = {**found, **{key: value for key, value in options.items() if key.lower() not in ("profile", "aws_profile")}}
    provider = _aws_profile(location, given) if scheme == "s3" and credentials.aws_profile(given, environ) else None
    if provider is not None:
        own = {key: value for key, value in provider.config.items() if key not in given and f"default_{key}" not in given}
        config, given = {**own, **config}, {**own, **given}
    elif credentials.needs_metadata(scheme, given, environ) and not credentials.metadata_answers(scheme, given):
        raise no_credentials(location)
    endpoints = [given[key] for key in _ENDPOINTS if given.get(key)]
    for endpoint in endpoints:
        if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", endpoint):
            raise InvalidSpec(
                f"{location.uri}: the endpoint must be a URL such as http://127.0.0.1:9000, got {endpoint.rpartition('@')[2]!r}"
            )
    if any(endpoint.startswith("http://") for endpoint in endpoints) or given.get("use_emulator", "").lower() == "true":
        client.setdefault("allow_http", True)
    if given.get("allow_http"):
        client.setdefault("allow_http", given["allow_http"])
    store = _STORES[scheme](location.bucket, config=config, client_options=client, retry_config=_NO_RETRIES, credential_provider=provider)
    return Opened(store, location.key)


def _client(options: Mapping[str, str], stall_seconds: float) -> dict[str, Any]:
    """Without a limit for the whole: a large model takes as long as it takes, and a stalled connection is told by its silence."""
    given = {key.lower(): value for key, value in options.items() if key.lower() in CLIENT_OPTIONS}
    return {"timeout": "365days", "read_timeout": f"{round(stall_seconds * 1000)}ms", "user_agent": "dragoman", **given}


def _aws_profile(location: Location, given: Mapping[str, str]) -> Any:
    """Credentials of an AWS profile, SSO included, through boto3; None where a profile file alone hints at one and boto3 is not there."""
    named = given.get("profile") or given.get("default_profile")
    try:
        import boto3
        import botocore.exceptions  # type: ignore[import-untyped]
        import botocore.session  # type: ignore[import-untyped]
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        if not named:
            return None
        raise MissingLibrary(f"{location.uri}: the AWS profile {named!r} needs boto3; pip install 'dragoman[s3]'") from None
    try:
        session = botocore.session.Session(profile=named)
        provider = Boto3CredentialProvider(boto3.Session(botocore_session=session))
        provider()
        endpoint = session.get_scoped_config().get("endpoint_url")
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        login = (
            f"; try `aws sso login --profile {named or 'default'}`"
            if "SSO" in type(error).__name__ or "Token" in type(error).__name__
            else ""
        )
        raise AccessDenied(f"{location.uri}: AWS profile {named or 'default'!r}: {error}{login}") from error
    except ValueError:  # obstore's, when the session finds none
        raise no_credentials(location) from None
    if endpoint and not any(given.get(key) for key in _ENDPOINTS):
        provider.config["endpoint"] = endpoint
    return provider
