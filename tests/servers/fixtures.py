"""The servers as pytest fixtures. Those that take a moment to start are shared by a session: write under a prefix of your own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.servers.azure import azurite
from tests.servers.gcs import fake_gcs
from tests.servers.objects import ObjectServer
from tests.servers.s3 import versitygw


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    with versitygw(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    with azurite(tmp_path_factory.mktemp("azure")) as server:
        yield server


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    with fake_gcs(tmp_path_factory.mktemp("gcs")) as server:
        yield server
