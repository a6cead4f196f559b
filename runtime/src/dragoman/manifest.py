"""ModelDeployment: the manifest, as it stands in a file or in the cluster.

Five groups, each with one reader: `model` and `serving` are the runtime's; `scale`, `rollout` and `pod` are the operator's, and
the runtime only checks their shape. Every error names its path: ``spec.model.inputs[2].type``.
"""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from dragoman.errors import InvalidSpec
from dragoman.signature import Field

API_VERSION = "dragoman.dev/v1alpha1"
KIND = "ModelDeployment"
State = Literal["Pending", "Fetching", "Loading", "Loaded", "Failed"]  # of a model on its way to being served
FORMATS = ("sklearn", "xgboost", "lightgbm", "onnx", "cloudpickle", "python", "mlflow")


class _Spec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", forbid_unknown_fields=True):
    """What every struct of the manifest shares: camelCase names, and no unknown fields."""


class SecretReference(_Spec, frozen=True):
    secret_name: str


class Storage(_Spec, frozen=True):
    """Options of the object store, as obstore names them: `{"endpoint": "http://127.0.0.1:9000", "region": "eu-west-1"}`."""

    options: dict[str, str] = {}


class Outputs(_Spec, frozen=True):
    target: str | None = None  # what is predicted: "species"
    classes: tuple[str | int | float | bool, ...] | None = None  # labels, in the order of predict_proba's columns


class Model(_Spec, frozen=True):
    """What is served."""

    uri: str
    digest: str | None = None
    format: Literal["sklearn", "xgboost", "lightgbm", "onnx", "cloudpickle", "python", "mlflow"] | None = None
    credentials: SecretReference | None = None
    storage: Storage = Storage()
    inputs: tuple[Field, ...] = ()
    outputs: Outputs = Outputs()


class V1(_Spec, frozen=True):
    """Options of the Open Inference Protocol v1 dialect: none."""


class V2(_Spec, frozen=True):
    """Options of the Open Inference Protocol v2 dialect, REST and gRPC: none."""


class Dialects(_Spec, frozen=True):
    """The prediction APIs that are spoken; one left out is off."""

    v1: V1 | None = None
    v2: V2 | None = None

    def enabled(self) -> dict[str, Any]:
        """Options by dialect name, of those that are on."""
        options = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: option for name, option in options.items() if option is not None}


class Batching(_Spec, frozen=True):
    """How requests share a predict. `rows_independent` says that a row's answer does not depend on the rows beside it;
    it is known for most formats, and the author's to say for python and cloudpickle models."""

    max_rows: int = 64
    rows_independent: bool | None = None


class Limits(_Spec, frozen=True):
    timeout_seconds: float = 60
    max_request_bytes: int = 50 * 1024 * 1024
    max_concurrency: int = 512
    load_timeout_seconds: float = 1800


class Serving(_Spec, frozen=True):
    """How the model answers. Without `dialects`, v1 and v2 are on."""

    dialects: Dialects = Dialects(v1=V1(), v2=V2())
    workers: int = 1
    batching: Batching = Batching()
    limits: Limits = Limits()


class Scale(_Spec, frozen=True):
    replicas: int = 1


class Rollout(_Spec, frozen=True):
    max_surge: int | str | None = None
    max_unavailable: int | str | None = None


class Cache(_Spec, frozen=True):
    size_limit: str | None = None


class Pod(_Spec, frozen=True):
    """Where the model runs: Kubernetes' own shapes, passed on as they are."""

    resources: dict[str, Any] | None = None
    env: list[dict[str, Any]] | None = None
    node_selector: dict[str, str] | None = None
    tolerations: list[dict[str, Any]] | None = None
    affinity: dict[str, Any] | None = None
    image_pull_secrets: list[dict[str, Any]] | None = None
    volumes: list[dict[str, Any]] | None = None
    annotations: dict[str, str] | None = None
    service_account_name: str | None = None
    image: str | None = None
    cache: Cache | None = None


class Spec(_Spec, frozen=True):
    model: Model
    serving: Serving = Serving()
    scale: Scale = Scale()
    rollout: Rollout = Rollout()
    pod: Pod = Pod()


class Metadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The part of Kubernetes' object metadata that is read here; the rest passes unread."""

    name: str
    namespace: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class ModelDeployment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", forbid_unknown_fields=True):
    api_version: str
    kind: str
    metadata: Metadata
    spec: Spec
    status: dict[str, Any] = {}  # as `kubectl get -o yaml` writes it; never read

    @property
    def name(self) -> str:
        return self.metadata.name


def from_uri(uri: str, name: str) -> ModelDeployment:
    """The manifest that `dragoman serve URI` stands for: every default."""
    return ModelDeployment(api_version=API_VERSION, kind=KIND, metadata=Metadata(name=name), spec=Spec(model=Model(uri=uri)))


def load(path: Path) -> list[ModelDeployment]:
    """The manifests of a YAML or JSON file (several documents allowed) or of a folder's `*.yaml`, `*.yml` and `*.json`.

    Relative URIs are resolved against their file's folder. Raises `InvalidSpec`, its message led by file and document.
    """
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix in (".yaml", ".yml", ".json") and p.is_file())
        found = [manifest for file in files for manifest in load(file)]
    else:
        found = list(_of_file(path))
    if not found:
        raise InvalidSpec(f"{path}: no {KIND} found; see `dragoman serve --help` for what can be served")
    return found


def parse(document: Any) -> ModelDeployment:
    """A manifest from a decoded document. Raises `InvalidSpec` with the path of what is wrong."""
    if not isinstance(document, Mapping):
        raise InvalidSpec(f"must be a {KIND}, an object with apiVersion, kind, metadata and spec")
    if document.get("kind") != KIND:
        raise InvalidSpec(f"kind: must be {KIND}, got {document.get('kind')!r}")
    if document.get("apiVersion") != API_VERSION:
        raise InvalidSpec(f"apiVersion: must be {API_VERSION}, got {document.get('apiVersion')!r}")
    try:
        manifest = msgspec.convert(document, ModelDeployment)
    except msgspec.ValidationError as error:
        raise InvalidSpec(_explained(str(error))) from None
    _check(manifest)
    return manifest


def is_manifest(path: Path) -> bool:
    """Whether a file is a manifest and not a model: by its suffix."""
    return path.suffix in (".yaml", ".yml") or (path.suffix == ".json" and path.is_file() and _names_our_kind(path))


def _names_our_kind(path: Path) -> bool:
    with path.open("rb") as file:
        return KIND.encode() in file.read(64 * 1024)


def _of_file(path: Path) -> Iterator[ModelDeployment]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidSpec(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"{path}: cannot be read: {error}") from None
    try:
        documents = [d for d in yaml.safe_load_all(text) if d is not None]
    except yaml.YAMLError as error:
        raise InvalidSpec(f"{path}: not valid YAML: {_one_line(str(error))}") from None
    for number, document in enumerate(documents, start=1):
        where = f"{path}" if len(documents) == 1 else f"{path}, document {number}"
        try:
            manifest = parse(document)
        except InvalidSpec as error:
            raise InvalidSpec(f"{where}: {error}") from None
        yield _resolved(manifest, path.parent)


def _resolved(manifest: ModelDeployment, folder: Path) -> ModelDeployment:
    """With a relative path in `spec.model.uri` made absolute: it is meant from the manifest's folder."""
    uri = manifest.spec.model.uri
    relative = uri.removeprefix("file://") if re.match(r"file://\.{1,2}/", uri) else uri
    if "://" in relative or Path(relative).is_absolute():
        return manifest
    model = msgspec.structs.replace(manifest.spec.model, uri=str((folder / relative).resolve()) + ("/" if relative.endswith("/") else ""))
    return msgspec.structs.replace(manifest, spec=msgspec.structs.replace(manifest.spec, model=model))


def _check(manifest: ModelDeployment) -> None:
    """What types alone do not say."""
    name, spec = manifest.metadata.name, manifest.spec
    limits = spec.serving.limits
    names = [f.name for f in spec.model.inputs]
    problems = {
        "metadata.name: must be a DNS label of at most 50 characters (a-z, 0-9 and -, starting with a letter)": not re.fullmatch(
            r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?", name
        ),
        "spec.model.uri: must not be empty": not spec.model.uri,
        "spec.model.digest: must be sha256: and 64 hex digits; `dragoman digest` prints it": spec.model.digest is not None
        and not re.fullmatch(r"sha256:[0-9a-f]{64}", spec.model.digest),
        "spec.model.inputs: at most 2000 can be declared; wider models infer them": len(names) > 2000,
        "spec.model.inputs: each name once": len(set(names)) != len(names),
        "spec.serving.workers: must be between 1 and 64": not 1 <= spec.serving.workers <= 64,
        "spec.serving.batching.maxRows: must be at least 1": spec.serving.batching.max_rows < 1,
        "spec.serving.limits.timeoutSeconds: must be greater than 0": not limits.timeout_seconds > 0,
        "spec.serving.limits.maxRequestBytes: must be at least 1": limits.max_request_bytes < 1,
        "spec.serving.limits.maxConcurrency: must be at least 1": limits.max_concurrency < 1,
        "spec.serving.limits.loadTimeoutSeconds: must be greater than 0": not limits.load_timeout_seconds > 0,
        "spec.serving.dialects: at least one must be on: " + ", ".join(Dialects.__struct_fields__): not spec.serving.dialects.enabled(),
        "spec.scale.replicas: must be 0 or more": spec.scale.replicas < 0,
    }
    for message, wrong in problems.items():
        if wrong:
            raise InvalidSpec(message)


def _explained(message: str) -> str:
    """msgspec's message, led by the path as users write it, with the nearest known name where one is unknown."""
    text, _, where = message.partition(" - at `$")
    path = where.rstrip("`").lstrip(".").replace("[...]", "[]")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", text)
    if unknown:
        name = unknown[1]
        known = _fields_at(path)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        mend = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"{path + '.' if path else ''}{name}: unknown field; {mend}"
    return f"{path or 'document'}: {text[:1].lower()}{text[1:]}"


def _fields_at(path: str) -> list[str]:
    """The field names that the struct at a path knows."""
    kind: Any = ModelDeployment
    for part in [p for p in re.split(r"\.|(?:\[[^\]]*\])", path) if p]:
        hints = typing.get_type_hints(kind)
        names = {f.encode_name: f.name for f in msgspec.structs.fields(kind)}
        kind = _struct_in(hints[names[part]])
    return [f.encode_name for f in msgspec.structs.fields(kind)]


def _struct_in(hint: Any) -> Any:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint
    return next((found for arg in typing.get_args(hint) if (found := _struct_in(arg)) is not None), None)


def _one_line(text: str) -> str:
    return " ".join(text.split())
