"""The ConfigMap: the manifest, as the runtime of one revision reads it."""

from __future__ import annotations

import msgspec

from dragoman_operator.build.metadata import metadata
from dragoman_operator.build.pod_template import MODEL_FOLDER, TOKEN_FOLDERS
from dragoman_operator.names import API_VERSION, KIND
from dragoman_operator.objects import Object
from dragoman_operator.spec import ModelDeployment

FILE = "modeldeployment.yaml"


def config_map(md: ModelDeployment, revision: str) -> Object:
    """Immutable: a revision's manifest never changes. JSON, which is YAML, because it is written a hundred times faster."""
    manifest = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": md.name, "namespace": md.namespace}, "spec": _spec(md)}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(md, revision),
        "immutable": True,
        "data": {FILE: msgspec.json.format(msgspec.json.encode(manifest), indent=2).decode() + "\n"},
    }


def _spec(md: ModelDeployment) -> Object:
    """What the runtime reads; a claim's URI and Secrets of tokens as the paths that they are mounted at."""
    model, serving = dict(md.written["model"]), dict(md.written.get("serving") or {})
    if md.claim is not None:
        model["uri"] = f"{MODEL_FOLDER}/{md.claim[1]}"
    if md.serving.auth.secrets:
        serving["auth"] = {name: {"file": TOKEN_FOLDERS[name]} for name in md.serving.auth.secrets}
    return {"model": model, "serving": serving}
