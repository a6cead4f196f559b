"""Names and values of the API that code refers to."""

from __future__ import annotations

import datetime

LIVENESS_ENDPOINT = "/-/alive"
READINESS_ENDPOINT = "/-/ready"
IS_LIVE = "This endpoint is live. Send POST requests for predictions"


class HEALTH_CHECK_VALUES:  # noqa: N801  the name that the API's code knows
    IS_READY = "READY"
    DEPLOYED_ON = datetime.datetime.now().astimezone().isoformat()  # when this process, or the one that it was forked from, started


class PREDICTION_PREDICTIONS_KEYS:  # noqa: N801
    ID = "id"
    PREDICTION = "prediction"
