"""What every reply of the API is made of, described."""

from __future__ import annotations

from dragoman.porter.schemas.vocabulary import Anything, Array, Boolean, Object, String

request_id = String("Of this request: a UUID as 32 hex digits.", reference_name="RequestID")

model_meta = Object("What the author says of the model.", additional_properties_type=Anything("Any value."))

model_context = Object(
    "The model that answers.",
    properties={
        "model_name": String("Its name."),
        "api_version": String("The version of its API."),
        "model_meta": model_meta,
    },
    reference_name="ModelContext",
)

app_meta = Object(
    "What the author says of the application.",
    properties={
        "name": String(nullable=True),
        "description": String(nullable=True),
        "version": String(nullable=True),
        "expose_docs": Boolean("Whether its docs are shown."),
        "docs_url": String("Where they are."),
        "docs_json_url": String("Where their OpenAPI document is."),
        "docs_prefix": String("What the paths of the docs begin with."),
    },
    required=["name", "description", "version", "expose_docs"],
    additional_properties_type=Anything("Any value."),
)

health_check = Object(
    "The application's state: for load balancers, and for people.",
    properties={
        "request_id": request_id,
        "porter_version": String("The version of the API that is spoken."),
        "deployed_on": String("When the process started, in ISO 8601."),
        "app_meta": app_meta,
        "services": Object(
            "Every service, by its id.",
            additional_properties_type=Object(
                properties={
                    "endpoint": String("Its path."),
                    "status": String("READY, or what it waits for."),
                    "model_context": model_context,
                }
            ),
        ),
    },
    required=["porter_version", "deployed_on", "app_meta", "services"],
    reference_name="HealthCheck",
)

error_body = Object(
    properties={
        "name": String("What kind of error it is."),
        "messages": Array("What is wrong.", item_type=String()),
        "traceback": String("Where it was raised; only where that is switched on."),
        "user_data": Anything("What the request sent; only where that is switched on."),
    },
    required=["name"],
    reference_name="ErrorBody",
)

generic_error = Object(properties={"request_id": request_id, "error": error_body}, required=["error"], reference_name="GenericError")

model_context_error = Object(
    properties={"request_id": request_id, "error": error_body, "model_context": model_context},
    required=["error", "model_context"],
    reference_name="ModelContextError",
)
