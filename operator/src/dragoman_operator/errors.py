"""What can go wrong: the vocabulary of reasons that users see in conditions and events, and the errors of the API server.

A `Violation` is a value: conditions, events and logs are made from it. A `KubeError` is what the API server answered; whether it is
worth trying again is told by its class.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_LONGEST = 1024  # characters of a message


class Reason(StrEnum):
    """The reasons of conditions and of `status.model.failure`. Documented, one by one, in docs/reference/reasons.md."""

    # all is well, or on its way
    ROLLED_OUT = "RolledOut"
    SERVING = "Serving"
    SCALED_TO_ZERO = "ScaledToZero"
    WAITING_FOR_PODS = "WaitingForPods"
    FETCHING = "Fetching"
    LOADING = "Loading"
    LOADED = "Loaded"
    ROLLING_OUT = "RollingOut"
    TERMINATING_FORMER = "TerminatingFormer"
    SETTLED = "Settled"
    NOT_STALLED = "NotStalled"
    # the manifest, or what stands in its way
    INVALID_SPEC = "InvalidSpec"
    NAME_TAKEN = "NameTaken"
    REFUSED = "Refused"
    # the model: told by the runtime
    MODEL_NOT_FOUND = "ModelNotFound"
    ACCESS_DENIED = "AccessDenied"
    DIGEST_MISMATCH = "DigestMismatch"
    DIGEST_DRIFT = "DigestDrift"
    UNSUPPORTED_FORMAT = "UnsupportedFormat"
    MISSING_LIBRARY = "MissingLibrary"
    POLICY_VIOLATION = "PolicyViolation"
    MODEL_LOAD_FAILED = "ModelLoadFailed"
    OUT_OF_MEMORY = "OutOfMemory"
    SIGNATURE_MISMATCH = "SignatureMismatch"
    STORAGE_UNAVAILABLE = "StorageUnavailable"
    DISK_FULL = "DiskFull"
    ADDRESS_IN_USE = "AddressInUse"
    LOAD_TIMEOUT = "LoadTimeout"
    WORKER_FAILED = "WorkerFailed"
    UNLOADED = "Unloaded"
    # the pod: told by Kubernetes
    IMAGE_PULL_FAILED = "ImagePullFailed"
    SECRET_NOT_FOUND = "SecretNotFound"
    CONTAINER_CONFIG_FAILED = "ContainerConfigFailed"
    CONTAINER_CRASHED = "ContainerCrashed"
    UNSCHEDULABLE = "Unschedulable"
    PODS_REFUSED = "PodsRefused"
    EVICTED = "Evicted"


PASSING: frozenset[Reason] = frozenset(
    {
        Reason.STORAGE_UNAVAILABLE,
        Reason.IMAGE_PULL_FAILED,
        Reason.SECRET_NOT_FOUND,
        Reason.CONTAINER_CONFIG_FAILED,
        Reason.CONTAINER_CRASHED,
        Reason.UNSCHEDULABLE,
        Reason.PODS_REFUSED,
        Reason.EVICTED,
        Reason.WORKER_FAILED,
        Reason.UNLOADED,
        Reason.TERMINATING_FORMER,
    }
)
"""Failures that something other than a change of the manifest may cure: a node, a registry, a Secret. The others are `Stalled`."""


@dataclass(frozen=True)
class Violation:
    """What is wrong, where, and what would mend it."""

    reason: Reason
    message: str
    path: str = ""  # spec.pod.image

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def clipped(message: str) -> str:
    """On one line, and short enough for a condition: the API server may quote a whole pod template at us."""
    text = " ".join(message.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


class OperatorError(Exception):
    """The root of what the operator raises."""


class InvalidSettings(OperatorError):
    """An environment variable that the operator was started with cannot be used."""


class LeadershipLost(OperatorError):
    """Another operator may be acting: this one must stop at once."""


class KubeError(OperatorError):
    """The API server refused a request. `str(error)` is its own message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class NotFound(KubeError):
    """404."""


class Conflict(KubeError):
    """409: another manager owns a field, a precondition failed, or the object is there already."""


class Invalid(KubeError):
    """400, 413 or 422: the object cannot be stored as it is; trying again cannot help."""


class Forbidden(KubeError):
    """401 or 403: not allowed, by RBAC, an admission policy or a quota."""


class Unavailable(KubeError):
    """429, 5xx, or no answer at all (status 0): worth trying again."""


KUBE_ERRORS: dict[int, type[KubeError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: Invalid,
    422: Invalid,
}


def kube_error(status: int, message: str) -> KubeError:
    """The error for an HTTP status of the API server."""
    return KUBE_ERRORS.get(status, Unavailable)(status, message)
