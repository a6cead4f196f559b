"""Descriptions of what a service takes and gives: types, and the parts that replies are made of."""

from dragoman.porter.schemas.common import (
    app_meta,
    error_body,
    generic_error,
    health_check,
    model_context,
    model_context_error,
    model_meta,
    request_id,
)
from dragoman.porter.schemas.openapi import RequestSchema, ResponseSchema
from dragoman.porter.schemas.vocabulary import Anything, ApiObject, Array, Boolean, Integer, Number, Object, String, of_definition

__all__ = [
    "Anything",
    "ApiObject",
    "Array",
    "Boolean",
    "Integer",
    "Number",
    "Object",
    "RequestSchema",
    "ResponseSchema",
    "String",
    "app_meta",
    "error_body",
    "generic_error",
    "health_check",
    "model_context",
    "model_context_error",
    "model_meta",
    "of_definition",
    "request_id",
]
