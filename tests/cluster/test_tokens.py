"""Tokens from a Secret: missing at first, then asked for, then rotated under a running pod."""

from __future__ import annotations

import base64
import json

import httpx
import pytest
from tests.cluster.errors import ClusterError
from tests.cluster.installed import Store, await_ready, merged
from tests.cluster.operating import Models, Object, eventually

SECRET = "clients"
KUBELET_SECONDS = 180.0  # within which it brings a changed Secret into a pod: a minute, and what it takes to notice


def write_secret(models: Models, **keys: str) -> None:
    """With these keys, and no other."""
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in keys.items()}
    metadata = {"name": SECRET, "namespace": models.namespace}
    models.cluster.apply(json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded}))


def guarded(store: Store, **source: str) -> Object:
    return merged(store.twice().spec(), {"serving": {"auth": {"tokens": source}}})


def test_a_secrets_tokens_are_asked_for_and_a_rotated_secret_is_followed(models: Models, store: Store) -> None:
    models.apply("twice", guarded(store, secretName=SECRET))
    status = models.await_reason("twice", "SecretNotFound", seconds=60)
    assert "spec.serving.auth.tokens" in status["model"]["failure"]["message"]
    assert models.condition("twice", "Stalled")[0] == "False"  # the Secret may still come

    write_secret(models, current="first\n")
    await_ready(models, ["twice"], seconds=240)
    (pod,) = models.pods("twice")
    url = f"http://{models.cluster.service('twice', models.namespace)}:8080"

    def status_of(token: str | None) -> int:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.post(f"{url}/v1/models/twice:predict", json={"instances": [[21]]}, headers=headers).status_code

    assert [status_of(token) for token in (None, "second", "first")] == [401, 401, 200]
    assert httpx.get(f"{url}/v2/health/ready").status_code == 200
    assert models.condition("twice")[0] == "True"  # probes and the operator's questions need no token

    write_secret(models, current="first\n", next="second\n")
    eventually(lambda: status_of("second") == 200, KUBELET_SECONDS, what="the second token is accepted")
    assert status_of("first") == 200
    write_secret(models, next="second\n")
    eventually(lambda: status_of("first") == 401, KUBELET_SECONDS, what="the first token is accepted no more")
    assert status_of("second") == 200
    (same,) = models.pods("twice")
    assert (same["metadata"]["uid"], same["status"]["containerStatuses"][0]["restartCount"]) == (
        pod["metadata"]["uid"],
        pod["status"]["containerStatuses"][0]["restartCount"],
    )


REFUSED: list[tuple[dict[str, str], str]] = [
    ({"file": "tokens"}, "must name a Secret of this namespace, {secretName: NAME}; a file of tokens is for `dragoman serve` on a laptop"),
    ({"secretName": SECRET, "file": "tokens"}, "must name a Secret of this namespace"),
    ({}, "must name a Secret of this namespace"),
    ({"secretName": "Clients!"}, "must be the name of a Secret in this namespace"),
]


def test_a_source_that_a_cluster_does_not_have_is_refused(models: Models, store: Store) -> None:
    for source, words in REFUSED:
        with pytest.raises(ClusterError) as refused:
            models.apply("refused", guarded(store, **source))
        assert words in str(refused.value)
