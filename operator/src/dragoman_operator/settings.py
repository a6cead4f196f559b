"""Settings of the operator: what an installation decides. Read from the environment, which the chart writes."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from dragoman_operator.errors import InvalidSettings

CodeFormats = Literal["Allow", "RequireDigest", "Deny"]
UpgradePolicy = Literal["OnChange", "Immediate"]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`environment` below says which variable each is read from: DRAGOMAN_ and its name in capitals."""

    runtime_image: str
    runtime_image_pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = ""  # "": Kubernetes' own rule
    image_pull_secrets: tuple[str, ...] = ()  # names, in the models' namespaces
    namespaces: tuple[str, ...] = ()  # none: all
    operator_namespace: str = "dragoman-system"  # where this pod runs: the Lease, and who may ask for /status
    identity: str = ""  # the Lease's holder
    code_formats: CodeFormats = "RequireDigest"
    pod_image: Literal["Allow", "Deny"] = "Deny"  # whether spec.pod.image may be set
    upgrade_policy: UpgradePolicy = "OnChange"
    upgrade_concurrency: int = 3  # models that Immediate moves at a time
    network_policy: bool = True
    monitoring_from: tuple[dict[str, Any], ...] = ()  # NetworkPolicy peers that may scrape port 9090
    egress: tuple[dict[str, Any], ...] = ()  # NetworkPolicy egress rules; none: open

    health_port: int = 8081
    workers: int = 8  # reconciles at a time
    connections: int = 8  # requests to the API server at a time
    resync_seconds: float = 600.0  # each object is looked at that often, whatever the watches say
    audit_seconds: float = 20.0  # the caches are compared with the API server that often
    probe_seconds: float = 5.0  # a starting pod is asked for its status that often
    lease_seconds: float = 15.0  # after its last renewal another operator takes over
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


def read(environment: Mapping[str, str]) -> Settings:
    """Settings from DRAGOMAN_… variables. Lists are JSON, lists of names may be separated by commas. Raises `InvalidSettings`."""
    found: dict[str, Any] = {"identity": environment.get("HOSTNAME") or socket.gethostname()}
    for field in msgspec.structs.fields(Settings):
        text = environment.get(f"DRAGOMAN_{field.name.upper()}")
        if text is not None:
            found[field.name] = _value(field.name, field.type, text)
    try:
        return msgspec.convert(found, Settings, strict=False)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("`$.")[2].rstrip("`") if "`$." in str(error) else ""
        where = f"DRAGOMAN_{name.upper()}: " if name else ""
        raise InvalidSettings(f"{where}{str(error).partition(' - at')[0]}") from None


def _value(name: str, kind: Any, text: str) -> Any:
    if getattr(kind, "__origin__", None) is not tuple:
        return text
    if kind.__args__[0] is str and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return msgspec.json.decode(text or "[]")
    except msgspec.DecodeError as error:
        raise InvalidSettings(f"DRAGOMAN_{name.upper()}: must be a JSON list: {error}") from None
