"""The part of a ModelDeployment that the operator reads. What lies under `model` and `serving` passes through to the runtime unread,
but for the names of dialects and Secrets, the URI's scheme, and the time limits that a pod's own must leave room for."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman_operator.errors import Reason, Violation
from dragoman_operator.names import REFRESH_ANNOTATION
from dragoman_operator.objects import Key, Object, digest, meta
from dragoman_operator.quantity import quantity
from dragoman_operator.settings import Settings

DEFAULT_DIALECTS = ("v1", "v2")
DEFAULT_TIMEOUT_SECONDS = 60.0
DEFAULT_LOAD_TIMEOUT_SECONDS = 1800.0


class _Spec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Fields that are not named here pass unread: a newer CRD may have more."""


class Credentials(_Spec, frozen=True):
    secret_name: str


class Limits(_Spec, frozen=True):
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    load_timeout_seconds: float = DEFAULT_LOAD_TIMEOUT_SECONDS


class Model(_Spec, frozen=True):
    uri: str
    digest: str = ""
    format: str = ""
    credentials: Credentials | None = None


class TokenSource(_Spec, frozen=True):
    secret_name: str


class Auth(_Spec, frozen=True):
    tokens: TokenSource | None = None
    admin_tokens: TokenSource | None = None

    @property
    def secrets(self) -> dict[str, str]:
        """The Secrets that hold tokens, by the name of their field in the manifest."""
        sources = {"tokens": self.tokens, "adminTokens": self.admin_tokens}
        return {name: source.secret_name for name, source in sources.items() if source is not None}


class Serving(_Spec, frozen=True):
    dialects: dict[str, Any] = msgspec.field(default_factory=lambda: {name: {} for name in DEFAULT_DIALECTS})
    limits: Limits = Limits()
    auth: Auth = Auth()


class Scale(_Spec, frozen=True):
    replicas: int = 1


class Rollout(_Spec, frozen=True):
    max_surge: int | str = "25%"
    max_unavailable: int | str = 0


class Cache(_Spec, frozen=True):
    size_limit: str = "20Gi"


class Pod(_Spec, frozen=True):
    """Kubernetes' own shapes, passed on as they are."""

    resources: Object = msgspec.field(default_factory=lambda: {"requests": {"cpu": "100m", "memory": "256Mi"}})
    env: tuple[Object, ...] = ()
    node_selector: dict[str, str] = {}
    tolerations: tuple[Object, ...] = ()
    affinity: Object = {}
    image_pull_secrets: tuple[Object, ...] = ()
    volumes: tuple[Object, ...] = ()
    annotations: dict[str, str] = {}
    service_account_name: str = ""
    image: str = ""
    cache: Cache = Cache()


class _Whole(_Spec, frozen=True):
    model: Model
    serving: Serving = Serving()
    scale: Scale = Scale()
    rollout: Rollout = Rollout()
    pod: Pod = Pod()


class ModelDeployment(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    namespace: str
    uid: str
    generation: int
    asked: str  # the hash of what its user asked for: ten hex digits
    written: Object  # spec, as its user wrote it
    model: Model
    serving: Serving
    scale: Scale
    rollout: Rollout
    pod: Pod

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)

    @property
    def claim(self) -> tuple[str, str] | None:
        """(claim, path in it) of a pvc:// URI."""
        if not self.model.uri.startswith("pvc://"):
            return None
        name, _, path = self.model.uri.removeprefix("pvc://").partition("/")
        return name, path


def read(obj: Object) -> ModelDeployment | Violation:
    """A ModelDeployment as stored; a `Violation` where its schema let through what cannot be read."""
    spec = obj.get("spec") or {}
    try:
        whole = msgspec.convert(spec, _Whole)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        return Violation(Reason.INVALID_SPEC, message[:1].lower() + message[1:], "spec" + path.rstrip("`"))
    return ModelDeployment(
        name=meta(obj)["name"],
        namespace=meta(obj)["namespace"],
        uid=meta(obj)["uid"],
        generation=meta(obj).get("generation", 0),
        asked=_asked(spec, str((meta(obj).get("annotations") or {}).get(REFRESH_ANNOTATION, ""))),
        written=spec,
        model=whole.model,
        serving=whole.serving,
        scale=whole.scale,
        rollout=whole.rollout,
        pod=whole.pod,
    )


def _asked(spec: Object, refresh: str) -> str:
    """It depends on what was written and on the annotation: not on defaults, nor on who operates."""
    parts = [spec.get(group) or {} for group in ("model", "serving", "pod")]
    return digest(*parts, *([refresh] if refresh else []))[:10]


def check(md: ModelDeployment, settings: Settings) -> Violation | None:
    """What neither the schema nor its rules can say, because it depends on the installation or on arithmetic."""
    if md.pod.image and settings.pod_image == "Deny":
        return Violation(
            Reason.INVALID_SPEC,
            "this installation allows no images but its own: leave the field out, or have allowPodImage set to true in the chart's values",
            "spec.pod.image",
        )
    mounts = [str(volume.get("mountPath", "")).rstrip("/") for volume in md.pod.volumes]
    if twice := next((mount for mount in mounts if mounts.count(mount) > 1), None):
        return Violation(Reason.INVALID_SPEC, f"two volumes are mounted at {twice}: give one another mountPath", "spec.pod.volumes")
    limits, requests = (md.pod.resources.get(part) or {} for part in ("limits", "requests"))
    for name, asked in requests.items():
        most, least = quantity(limits.get(name, asked)), quantity(asked)
        if most is None or least is None:
            return Violation(Reason.INVALID_SPEC, f"{name} must be a quantity such as 500m or 2Gi", "spec.pod.resources")
        if least > most:
            message = f"requests {name} {asked}, more than its limit {limits[name]}: raise the limit or lower the request"
            return Violation(Reason.INVALID_SPEC, message, "spec.pod.resources")
    return None
