"""What the environment says about stores, as each cloud's own tools read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dragoman.errors import InvalidSpec
from dragoman.storage.credentials import aws_profile, known, needs_metadata, settings

CONNECTION = "DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=a2V5==;EndpointSuffix=core.windows.net"


@pytest.mark.parametrize(
    ("scheme", "options", "environ", "found"),
    [
        ("az", {}, {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_STORAGE_KEY": "k"}, {"account_name": "acc", "account_key": "k"}),
        ("az", {}, {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_STORAGE_ACCOUNT_NAME": "other"}, {}),  # obstore reads the second itself
        ("az", {"account_name": "mine"}, {"AZURE_STORAGE_ACCOUNT": "acc"}, {}),
        ("az", {}, {"AZURE_STORAGE_CONNECTION_STRING": CONNECTION}, {"account_name": "acc", "account_key": "a2V5=="}),
        ("az", {"azure_storage_account_key": "k"}, {"AZURE_STORAGE_CONNECTION_STRING": CONNECTION}, {"account_name": "acc"}),
        (
            "az",
            {},
            {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=acc;BlobEndpoint=http://h/acc;SharedAccessSignature=sv=1&sig=2"},
            {"account_name": "acc", "endpoint": "http://h/acc", "sas_key": "sv=1&sig=2"},
        ),
        (
            "az",
            {},
            {"AZURE_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true"},
            {"use_emulator": "true", "account_name": "devstoreaccount1"},
        ),
        ("gs", {}, {"STORAGE_EMULATOR_HOST": "127.0.0.1:4443"}, {"base_url": "http://127.0.0.1:4443", "skip_signature": "true"}),
        ("gs", {"service_account": "key.json"}, {"STORAGE_EMULATOR_HOST": "https://h/"}, {"base_url": "https://h"}),
        ("gs", {"base_url": "https://mine"}, {"STORAGE_EMULATOR_HOST": "https://h"}, {}),
        ("s3", {}, {"AWS_ACCESS_KEY_ID": "id", "STORAGE_EMULATOR_HOST": "https://h"}, {}),
    ],
)
def test_names_that_obstore_does_not_read_are_read(
    scheme: str, options: dict[str, str], environ: dict[str, str], found: dict[str, str]
) -> None:
    assert settings(scheme, options, environ) == found


def test_a_connection_string_without_an_account_is_refused_without_repeating_it() -> None:
    with pytest.raises(InvalidSpec, match="has no AccountName") as refused:
        settings("az", {}, {"AZURE_STORAGE_CONNECTION_STRING": "AccountKey=hush"})
    assert "hush" not in refused.value.message


def test_an_option_wins_over_the_environment_however_it_is_spelled() -> None:
    assert known("s3", {"aws_endpoint": "http://option"}, {"AWS_ENDPOINT": "http://env", "AWS_REGION": "r", "PATH": "/"}) == {
        "endpoint": "http://option",
        "region": "r",
    }


@pytest.mark.parametrize(
    ("scheme", "given", "asks"),
    [
        ("s3", {}, True),
        ("s3", {"access_key_id": "id"}, False),
        ("s3", {"skip_signature": "true"}, False),
        ("s3", {"skip_signature": "false"}, True),
        ("s3", {"web_identity_token_file": "/token"}, False),
        ("s3", {"container_credentials_relative_uri": "/v2"}, False),
        ("az", {"account_name": "a"}, True),
        ("az", {"account_key": "a"}, False),
        ("az", {"sas_token": "a"}, False),
        ("az", {"client_id": "a", "tenant_id": "b", "federated_token_file": "/token"}, False),
        ("az", {"use_azure_cli": "true"}, False),
        ("gs", {}, True),
        ("gs", {"application_credentials": "/key.json"}, False),
    ],
)
def test_the_metadata_server_is_asked_only_when_nothing_else_is_given(
    scheme: str, given: dict[str, str], asks: bool, tmp_path: Path
) -> None:
    assert needs_metadata(scheme, given, {"HOME": str(tmp_path)}) is asks


def test_what_gcloud_left_is_enough(tmp_path: Path) -> None:
    (tmp_path / "application_default_credentials.json").write_text("{}")
    assert needs_metadata("gs", {}, {"CLOUDSDK_CONFIG": str(tmp_path)}) is False


@pytest.mark.parametrize(
    ("given", "file", "used"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"profile": "dev"}, False, True),
        ({"profile": "dev", "web_identity_token_file": "/token"}, False, True),
        ({"web_identity_token_file": "/token"}, True, False),
        ({"access_key_id": "id", "profile": "dev"}, True, False),
        ({"skip_signature": "true", "profile": "dev"}, True, False),
    ],
)
def test_an_aws_profile_is_used_when_named_or_when_nothing_else_is_given(
    given: dict[str, str], file: bool, used: bool, tmp_path: Path
) -> None:
    if file:
        (tmp_path / ".aws").mkdir()
        (tmp_path / ".aws" / "config").write_text("[default]\n")
    assert aws_profile(given, {"HOME": str(tmp_path)}) is used
