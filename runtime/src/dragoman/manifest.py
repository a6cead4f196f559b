"""ModelDeployment: the manifest, as it stands in a file or in the cluster.

Five groups, each with one reader: `model` and `serving` are the runtime's; `scale`, `rollout` and `pod` are the operator's, and
the runtime only checks their shape. Every error names its path: ``spec.model.inputs[2].type``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from dragoman.complaints import explained, shown
from dragoman.dialect_options import V1, V2, Dialects
from dragoman.errors import InvalidSpec
from dragoman.part import Part
from dragoman.signature import Field
from dragoman.storage.uri import parse as parse_uri

API_VERSION = "dragoman.dev/v1alpha1"
KIND = "ModelDeployment"
State = Literal["Pending", "Fetching", "Loading", "Loaded", "Unloaded", "Failed"]  # of a model on its way to being served
COMPILE: Literal["Off", "Auto"] = "Off"  # of a model whose manifest does not say


class SecretReference(Part, frozen=True):
    secret_name: str


class Storage(Part, frozen=True):
    """Options of the object store, as obstore names them: `{"endpoint": "http://127.0.0.1:9000", "region": "eu-west-1"}`."""

    options: dict[str, str] = msgspec.field(default_factory=dict)


class Outputs(Part, frozen=True):
    target: str | None = None  # what is predicted: "species"
    classes: tuple[str | int | float | bool, ...] | None = None  # labels, in the order of predict_proba's columns


class Model(Part, frozen=True):
    """What is served."""

    uri: str
    digest: str | None = None
    format: Literal["sklearn", "xgboost", "lightgbm", "onnx", "cloudpickle", "python", "mlflow", "compiled"] | None = None
    credentials: SecretReference | None = None
    storage: Storage = Storage()
    inputs: tuple[Field, ...] = ()
    outputs: Outputs = Outputs()


class Batching(Part, frozen=True):
    """How requests share a predict. `rows_independent` says that a row's answer does not depend on the rows beside it;
    it is known for most formats, and the author's to say for python and cloudpickle models."""

    max_rows: int = 64
    rows_independent: bool | None = None


class Limits(Part, frozen=True):
    timeout_seconds: float = 60
    max_request_bytes: int = 50 * 1024 * 1024
    max_concurrency: int = 512
    load_timeout_seconds: float = 1800


class TokenSource(Part, frozen=True):
    """Where tokens are read from, one of the two: a Secret (on a cluster), or a file with one a line."""

    secret_name: str | None = None
    file: str | None = None  # relative to the manifest's file; a folder of such files, too


class Auth(Part, frozen=True):
    """Who may ask: who presents one of `tokens`; without them, anybody. Who may load and unload: without `admin_tokens`, nobody."""

    tokens: TokenSource | None = None
    admin_tokens: TokenSource | None = None


class Serving(Part, frozen=True):
    """How the model answers. Without `dialects`, v1 and v2 are on. `compile`: whether small batches are answered by a compiled model,
    where that is proven equal; `compile_memory_share`: what it may take, in all workers together, of what loading the original took."""

    dialects: Dialects = Dialects(v1=V1(), v2=V2())
    workers: int = 1
    batching: Batching = Batching()
    limits: Limits = Limits()
    auth: Auth = Auth()
    compile: Literal["Off", "Auto"] = COMPILE
    compile_memory_share: float = 1.0


class Scale(Part, frozen=True):
    replicas: int = 1


class Rollout(Part, frozen=True):
    max_surge: int | str | None = None
    max_unavailable: int | str | None = None


class Cache(Part, frozen=True):
    size_limit: str | None = None


class Pod(Part, frozen=True):
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


class Spec(Part, frozen=True):
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
    found = []
    for one in each(path):
        if isinstance(one, InvalidSpec):
            raise one
        found.append(one)
    return found


def each(path: Path) -> Iterator[ModelDeployment | InvalidSpec]:
    """As `load`, and what is wrong with each document that is no manifest in its place."""
    files = manifests_in(path) if path.is_dir() else [path]
    seen: dict[tuple[str, str | None], Path] = {}
    any_found = False
    for file in files:
        for one in _of_file(file):
            any_found = True
            if isinstance(one, ModelDeployment):
                key = (one.name, one.metadata.namespace)
                if key in seen:
                    one = InvalidSpec(f"{file}: metadata.name: {one.name!r} is the name of another one in {seen[key]}; each needs its own")
                else:
                    seen[key] = file
            yield one
    if not any_found:
        yield InvalidSpec(f"{path}: no {KIND} found; see `dragoman serve --help` for what can be served")


def parse(document: Any) -> ModelDeployment:
    """A manifest from a decoded document. Raises `InvalidSpec` with the path of what is wrong."""
    if not isinstance(document, Mapping):
        raise InvalidSpec(f"must be a {KIND}, an object with apiVersion, kind, metadata and spec")
    for field, wanted in (("kind", KIND), ("apiVersion", API_VERSION)):
        if document.get(field) is None:
            raise InvalidSpec(f"{field}: is missing: write {field}: {wanted}")
        if document[field] != wanted:
            raise InvalidSpec(f"{field}: must be {wanted}, got {document[field]!r}")
    try:
        manifest = msgspec.convert(document, ModelDeployment)
    except msgspec.ValidationError as error:
        raise InvalidSpec(explained(error, document, ModelDeployment)) from None
    _check(manifest)
    return manifest


def is_manifest(path: Path) -> bool:
    """Whether a file is a manifest and not a model: by its suffix."""
    return path.suffix in (".yaml", ".yml") or (path.suffix == ".json" and path.is_file() and _names_us(path))


def manifests_in(folder: Path) -> list[Path]:
    """A folder's YAML and JSON files that name our kind or API: others may stand beside them, as in a model's folder."""
    files = sorted(p for p in folder.iterdir() if p.suffix in (".yaml", ".yml", ".json") and p.is_file())
    return [file for file in files if _names_us(file)]


def _names_us(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(64 * 1024)
    return KIND.encode() in head or b"dragoman.dev/" in head


def _of_file(path: Path) -> Iterator[ModelDeployment | InvalidSpec]:
    import yaml  # here: it takes 10 ms, and what is served without a manifest needs none

    from dragoman import yaml_documents

    try:
        found = yaml_documents.documents(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        yield InvalidSpec(f"{path}: no such file")
    except UnicodeDecodeError as error:
        yield InvalidSpec(f"{path}: not a text file in UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}")
    except OSError as error:
        yield InvalidSpec(f"{path}: cannot be read: {error.strerror}")
    except yaml.YAMLError as error:
        yield InvalidSpec(f"{path}: not valid YAML: {yaml_documents.problem(error)}")
    else:
        for number, document in enumerate(found, start=1):
            where = f"{path}" if len(found) == 1 else f"{path}, document {number}"
            try:
                yield _resolved(parse(document), path.parent)
            except InvalidSpec as error:
                yield InvalidSpec(f"{where}: {error}")


def _resolved(manifest: ModelDeployment, folder: Path) -> ModelDeployment:
    """With relative paths made absolute, of the model and of tokens: they are meant from the manifest's folder."""
    spec = manifest.spec
    model = msgspec.structs.replace(spec.model, uri=_absolute(spec.model.uri, folder))
    auth = msgspec.structs.replace(
        spec.serving.auth, tokens=_placed(spec.serving.auth.tokens, folder), admin_tokens=_placed(spec.serving.auth.admin_tokens, folder)
    )
    serving = msgspec.structs.replace(spec.serving, auth=auth)
    return msgspec.structs.replace(manifest, spec=msgspec.structs.replace(spec, model=model, serving=serving))


def _absolute(uri: str, folder: Path) -> str:
    relative = uri.removeprefix("file://") if re.match(r"file://\.{1,2}/", uri) else uri
    if "://" in relative or Path(relative).is_absolute():
        return uri
    return str((folder / relative).resolve()) + ("/" if relative.endswith("/") else "")


def _placed(source: TokenSource | None, folder: Path) -> TokenSource | None:
    if source is None or source.file is None:
        return source
    return msgspec.structs.replace(source, file=str((folder / source.file).absolute()))


def _check(manifest: ModelDeployment) -> None:
    """What types alone do not say."""
    for problem in _problems(manifest):
        raise InvalidSpec(problem)


def _problems(manifest: ModelDeployment) -> Iterator[str]:
    name, spec = manifest.metadata.name, manifest.spec
    limits, batching = spec.serving.limits, spec.serving.batching
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?", name):
        yield (
            "metadata.name: must be a DNS label of at most 50 characters (a-z, 0-9 and -, starting with a letter, not ending with -), "
            f"got {shown(name)}"
        )
    yield from _model_problems(spec.model)
    dialects = ", ".join(f"{known}: {{}}" for known in Dialects.__struct_fields__)
    if not spec.serving.dialects.enabled():
        yield f"spec.serving.dialects: at least one must be on; write one of {dialects}, or leave dialects out for v1 and v2"
    yield from (f"spec.serving.dialects.{problem}" for problem in spec.serving.dialects.problems())
    if spec.scale.replicas != 1:
        yield from (f"spec.serving.dialects.{problem}" for problem in spec.serving.dialects.replica_problems())
    for key, source in (("tokens", spec.serving.auth.tokens), ("adminTokens", spec.serving.auth.admin_tokens)):
        if source is not None and bool(source.secret_name) == bool(source.file):
            yield f"spec.serving.auth.{key}: name one source, secretName (a Secret, on a cluster) or file (one token a line)"
    bounds = (
        ("spec.serving.workers", spec.serving.workers, 1 <= spec.serving.workers <= 64, "must be between 1 and 64"),
        ("spec.serving.batching.maxRows", batching.max_rows, batching.max_rows >= 1, "must be at least 1"),
        ("spec.serving.limits.timeoutSeconds", limits.timeout_seconds, limits.timeout_seconds > 0, "must be greater than 0"),
        ("spec.serving.limits.maxRequestBytes", limits.max_request_bytes, limits.max_request_bytes >= 1, "must be at least 1"),
        ("spec.serving.limits.maxConcurrency", limits.max_concurrency, limits.max_concurrency >= 1, "must be at least 1"),
        ("spec.serving.limits.loadTimeoutSeconds", limits.load_timeout_seconds, limits.load_timeout_seconds > 0, "must be greater than 0"),
        (
            "spec.serving.compileMemoryShare",
            spec.serving.compile_memory_share,
            spec.serving.compile_memory_share > 0,
            "must be greater than 0",
        ),
        ("spec.scale.replicas", spec.scale.replicas, spec.scale.replicas >= 0, "must be 0 or more"),
    )
    for path, value, fine, rule in bounds:
        if not fine:
            yield f"{path}: {rule}, got {shown(value)}"


def _model_problems(model: Model) -> Iterator[str]:
    if not model.uri:
        yield "spec.model.uri: must not be empty"
    elif not model.uri.startswith("pvc://"):  # the operator's, which mounts the claim
        try:
            parse_uri(model.uri)
        except InvalidSpec as error:
            yield f"spec.model.uri: {error}"
    if model.digest is not None and not re.fullmatch(r"sha256:[0-9a-f]{64}", model.digest):
        yield f"spec.model.digest: must be sha256: and 64 hex digits, got {shown(model.digest)}; `dragoman digest` prints it"
    if len(model.inputs) > 2000:
        yield f"spec.model.inputs: at most 2000 can be declared, got {len(model.inputs)}; wider models infer them"
    seen: dict[str, int] = {}
    for i, field in enumerate(model.inputs):
        if field.name in seen:
            yield f"spec.model.inputs[{i}].name: each name once, and {shown(field.name)} is that of inputs[{seen[field.name]}] too"
        seen[field.name] = i
        yield from (f"spec.model.inputs[{i}].{problem}" for problem in _field_problems(field))
    classes = model.outputs.classes or ()
    if len({(type(c), c) for c in classes}) != len(classes):
        yield f"spec.model.outputs.classes: each class once, got {', '.join(map(str, classes[:20]))}"


def _field_problems(field: Field) -> Iterator[str]:
    if not field.name:
        yield "name: must not be empty"
    for bound in ("minimum", "maximum"):
        if field.type not in ("number", "integer") and getattr(field, bound) is not None:
            yield f"{bound}: only numbers have bounds, and {shown(field.name)} is a {field.type}"
    if field.minimum is not None and field.maximum is not None and field.minimum > field.maximum:
        yield f"minimum: {shown(field.minimum)} is greater than maximum: {shown(field.maximum)}"
    accepted = _ACCEPTED[field.type]
    for i, value in enumerate(field.enum or ()):
        if not isinstance(value, accepted) or (isinstance(value, bool) and field.type != "boolean"):
            yield f"enum[{i}]: {shown(value)} is not of the field's type, {field.type}"


_ACCEPTED: dict[str, type | tuple[type, ...]] = {"number": (int, float), "integer": int, "string": str, "boolean": bool}
