"""What a pod tells: how far its model has come, and why it came no further. Failure is read, not guessed: from termination messages,
waiting reasons, exit codes, the scheduler's verdict, and the runtime's own report."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dragoman_operator.errors import Reason, clipped
from dragoman_operator.names import CONTAINER
from dragoman_operator.objects import Object, meta
from dragoman_operator.report import Report, Told

STATES = ("Pending", "Failed", "Unloaded", "Fetching", "Loading", "Loaded")  # later ones have come further

EXIT_CODES = {
    10: Reason.INVALID_SPEC,
    11: Reason.MODEL_NOT_FOUND,
    12: Reason.ACCESS_DENIED,
    13: Reason.DIGEST_MISMATCH,
    14: Reason.UNSUPPORTED_FORMAT,
    15: Reason.MISSING_LIBRARY,
    16: Reason.POLICY_VIOLATION,
    17: Reason.MODEL_LOAD_FAILED,
    18: Reason.OUT_OF_MEMORY,
    19: Reason.SIGNATURE_MISMATCH,
    20: Reason.STORAGE_UNAVAILABLE,
    21: Reason.DISK_FULL,
    22: Reason.ADDRESS_IN_USE,
    23: Reason.LOAD_TIMEOUT,
    24: Reason.WORKER_FAILED,
}
"""The runtime's exit codes, for when its last words are lost. A contract test holds them to the runtime's."""

_WAITING = {
    "ErrImagePull": Reason.IMAGE_PULL_FAILED,
    "ImagePullBackOff": Reason.IMAGE_PULL_FAILED,
    "InvalidImageName": Reason.IMAGE_PULL_FAILED,
    "ErrImageNeverPull": Reason.IMAGE_PULL_FAILED,
    "RegistryUnavailable": Reason.IMAGE_PULL_FAILED,
    "CreateContainerConfigError": Reason.CONTAINER_CONFIG_FAILED,
    "CreateContainerError": Reason.CONTAINER_CONFIG_FAILED,
    "RunContainerError": Reason.CONTAINER_CONFIG_FAILED,
}

_NO_TOKENS = re.compile(r"(spec\.serving\.auth\.\w+): /\S+: the folder holds no token")  # the runtime's words of an empty mount

_MENDS = {
    Reason.ACCESS_DENIED: "; on a cluster these are keys of the Secret that spec.model.credentials.secretName names",
}


@dataclass(frozen=True)
class Failure:
    reason: Reason
    message: str
    pod: str
    exit_code: int | None = None
    time: str = ""  # RFC 3339; "" where nothing says when


@dataclass(frozen=True)
class Progress:
    """How far one pod's model has come."""

    pod: str
    state: str  # of STATES
    ready: bool
    report: Report | None
    failure: Failure | None = None


def progress(pod: Object, report: Report | None) -> Progress:
    """Of a pod, with what its runtime reported last (None: unknown, which is not a failure)."""
    name, container = meta(pod)["name"], _container(pod)
    if is_ready(pod):
        return Progress(name, "Loaded", True, report)
    failure = _failure(pod, container, report)
    running = "running" in (container.get("state") or {})
    told = report.model.state if report is not None and running else "Pending"
    if failure is not None:
        return Progress(name, told if told in ("Loaded", "Unloaded") else "Failed", False, report, failure)
    return Progress(name, "Loading" if told == "Loaded" else told, False, report)


def is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def is_leaving(pod: Object) -> bool:
    """Being deleted, or over: another takes its place."""
    return bool(meta(pod).get("deletionTimestamp"))


def container_id(pod: Object) -> str:
    """The id of the running container; "" while none runs."""
    container = _container(pod)
    return str(container.get("containerID", "")) if "running" in (container.get("state") or {}) else ""


def _container(pod: Object) -> Mapping[str, Any]:
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    return next((one for one in statuses if one["name"] == CONTAINER), {})


def _failure(pod: Object, container: Mapping[str, Any], report: Report | None) -> Failure | None:
    name = meta(pod)["name"]
    status = pod.get("status", {})
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    if reason := _WAITING.get(waiting.get("reason", "")):
        return _of_waiting(name, reason, str(waiting.get("message") or waiting["reason"]))
    if "running" in state and report is not None and (told := _told(report)) is not None:
        return Failure(reason_of(told.reason), _with_mend(told), name)
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
    if ended and (ended.get("exitCode") or container.get("restartCount")):
        return _of_end(name, ended)
    if status.get("phase") == "Failed":
        evicted = status.get("reason") == "Evicted"
        reason = Reason.EVICTED if evicted else Reason.CONTAINER_CRASHED
        return Failure(reason, clipped(str(status.get("message") or "the pod failed; `kubectl describe pod` has more")), name)
    for one in status.get("conditions") or ():
        if one["type"] == "PodScheduled" and one["status"] == "False" and one.get("reason") == "Unschedulable":
            return Failure(Reason.UNSCHEDULABLE, clipped(str(one.get("message", "no node takes the pod"))), name)
    return None


def _told(report: Report) -> Told | None:
    """What a running runtime says is wrong: with its model, or with the workers that it cannot keep alive."""
    if report.model.failure is not None:
        return report.model.failure
    if report.model.state == "Unloaded":
        return Told(Reason.UNLOADED, "the model was unloaded through v2's API: load it the same way, or delete the pod")
    memory = [w.last_exit for w in report.workers if w.last_exit is not None and w.last_exit.reason == Reason.OUT_OF_MEMORY]
    return memory[0] if memory and not report.ready else None


def _of_waiting(pod: str, reason: Reason, message: str) -> Failure:
    missing = re.search(r'secret "([^"]+)" not found', message)
    if missing:
        text = f"the Secret {missing[1]!r} does not exist in this namespace: create it, or correct spec.model.credentials.secretName"
        return Failure(Reason.SECRET_NOT_FOUND, text, pod)
    mends = {Reason.IMAGE_PULL_FAILED: "; check the image's name and spec.pod.imagePullSecrets"}
    return Failure(reason, clipped(message) + mends.get(reason, ""), pod)


def _of_end(pod: str, ended: Mapping[str, Any]) -> Failure:
    code, time = int(ended.get("exitCode") or 0), str(ended.get("finishedAt") or "")
    last_words = _last_words(str(ended.get("message") or ""))
    if last_words is not None and (empty := _NO_TOKENS.search(last_words.message)):
        text = f"the Secret that {empty[1]} names does not exist in this namespace, or holds no token: create it, or correct the name"
        return Failure(Reason.SECRET_NOT_FOUND, text, pod, code, time)
    if last_words is not None:
        return Failure(reason_of(last_words.reason), _with_mend(last_words), pod, code, time)
    if ended.get("reason") == "OOMKilled":
        text = "the container used more memory than its limit: raise spec.pod.resources.limits.memory, or lower spec.serving.workers"
        return Failure(Reason.OUT_OF_MEMORY, text, pod, code, time)
    reason = EXIT_CODES.get(code, Reason.CONTAINER_CRASHED)
    how = f"was killed by signal {code - 128}" if code > 128 else f"ended with exit code {code}"
    return Failure(reason, f"the container {how}; its log has more: kubectl logs {pod} --previous", pod, code, time)


def _last_words(message: str) -> Told | None:
    """The runtime's termination message, {"reason", "message"}; or None, when what stands there is the tail of its log."""
    try:
        said = json.loads(message)
    except ValueError:
        return None
    if isinstance(said, dict) and isinstance(said.get("reason"), str) and isinstance(said.get("message"), str):
        return Told(said["reason"], said["message"])
    return None


def reason_of(name: str) -> Reason:
    """The runtime's reason in our vocabulary; a newer runtime's unknown one is a failed load, its message says the rest."""
    return Reason(name) if name in Reason.__members__.values() else Reason.MODEL_LOAD_FAILED


def _with_mend(told: Told) -> str:
    """The runtime's words, and where on a cluster that is which they ask for."""
    return clipped(told.message) + _MENDS.get(reason_of(told.reason), "")
