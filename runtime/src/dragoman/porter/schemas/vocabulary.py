"""The types that requests and replies are described in: `Object(properties={"age": Integer("In years.")})`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from dragoman.porter.schemas.validation import BadSchema, Invalid, compiled

Definition = dict[str, Any]
FAILED = "Schema validation failed"


class ApiObject:
    """A value described: for checking it, and for the docs.

    `additional_params` are more keywords of JSON Schema or OpenAPI: `{"minimum": 0}`, `{"enum": ["x", "y"]}`, `{"example": 3}`.
    With a `reference_name` the docs define it once, as `#/components/schemas/<name>`. `nullable`: null is one of its values.
    """

    type_name: str | None = None

    def __init__(
        self,
        description: str | None = None,
        *,
        additional_params: Mapping[str, Any] | None = None,
        reference_name: str | None = None,
        nullable: bool = False,
    ) -> None:
        self.description = description
        self.additional_params = dict(additional_params or {})
        self.reference_name = reference_name
        self.nullable = nullable
        self._check = compiled(self.definition())

    def definition(self) -> Definition:
        """The whole schema, without references."""
        return self._definition({}, refer=False)

    def to_openapi(self) -> tuple[Definition, dict[str, Definition]]:
        """The schema as OpenAPI 3.0 has it, and the definitions that it refers to, by name."""
        references: dict[str, Definition] = {}
        return self._referred(references), references

    def validate(self, data: Any) -> None:
        """`ValueError` with `Schema validation failed: data.x must be integer` where the value is not as described."""
        try:
            self._check(data)
        except Invalid as error:
            raise ValueError(f"{FAILED}: {error.text}") from None

    def _referred(self, references: dict[str, Definition]) -> Definition:
        definition = self._definition(references, refer=True)
        if self.reference_name is None:
            return definition
        references[self.reference_name] = definition
        return {"$ref": f"#/components/schemas/{self.reference_name}"}

    def _definition(self, references: dict[str, Definition], *, refer: bool) -> Definition:
        definition: Definition = {} if self.type_name is None else {"type": self.type_name}
        if self.description is not None:
            definition["description"] = self.description
        if self.nullable:
            definition["nullable"] = True
        definition |= self.additional_params
        return definition | self._parts(lambda part: part._referred(references) if refer else part.definition())

    def _parts(self, of: Callable[[ApiObject], Definition]) -> Definition:
        """What its inner types add."""
        return {}


class Anything(ApiObject):
    """A value of any type."""


class String(ApiObject):
    type_name = "string"


class Number(ApiObject):
    type_name = "number"


class Integer(ApiObject):
    """A number without a fraction: 1.0 is one."""

    type_name = "integer"


class Boolean(ApiObject):
    type_name = "boolean"


class Array(ApiObject):
    """A list of values of one type; without `item_type`, of any."""

    type_name = "array"

    def __init__(self, description: str | ApiObject | None = None, *, item_type: ApiObject | None = None, **kwargs: Any) -> None:
        if isinstance(description, ApiObject):
            description, item_type = None, description
        self.item_type = item_type
        super().__init__(description, **kwargs)

    def _parts(self, of: Callable[[ApiObject], Definition]) -> Definition:
        return {"items": {} if self.item_type is None else of(self.item_type)}


class Object(ApiObject):
    """Named values. `required`: "all" of `properties`, or the names of those that must be there.

    `additional_properties_type` describes the values of names that `properties` does not have; without it they may be anything.
    """

    type_name = "object"

    def __init__(
        self,
        description: str | None = None,
        *,
        properties: Mapping[str, ApiObject] | None = None,
        additional_properties_type: ApiObject | None = None,
        required: Literal["all", False] | Sequence[str] = "all",
        **kwargs: Any,
    ) -> None:
        if properties is None and additional_properties_type is None:
            raise ValueError("an Object needs properties, additional_properties_type, or both")
        self.properties = properties
        self.additional_properties_type = additional_properties_type
        self.required = tuple(properties or ()) if required == "all" else tuple(required or ())
        super().__init__(description, **kwargs)

    def _parts(self, of: Callable[[ApiObject], Definition]) -> Definition:
        parts: Definition = {}
        if self.properties is not None:
            parts["properties"] = {name: of(one) for name, one in self.properties.items()}
            if self.required:
                parts["required"] = list(self.required)
        if self.additional_properties_type is not None:
            parts["additionalProperties"] = of(self.additional_properties_type)
        return parts


def of_definition(definition: Any, path: str = "") -> ApiObject:
    """From JSON, as a manifest has it: `{"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}}`.

    Keywords are JSON Schema's; `nullable` and `referenceName` are as here, and where `required` is left out, all properties are.
    `BadSchema`, led by `path`, where it cannot be used.
    """
    where = path or "the schema"
    if not isinstance(definition, Mapping):
        raise BadSchema(f"{where}: must be an object with a type, got {definition!r}")
    rest = dict(definition)
    kind = rest.pop("type", "object" if "properties" in rest else None)
    common: dict[str, Any] = {
        "description": rest.pop("description", None),
        "reference_name": rest.pop("referenceName", None),
        "nullable": rest.pop("nullable", False) is True,
    }
    if kind == "array":
        items = rest.pop("items", None)
        common["item_type"] = None if items is None else of_definition(items, f"{path}.items")
    elif kind == "object":
        properties, additional = rest.pop("properties", None), rest.pop("additionalProperties", None)
        if not isinstance(properties, Mapping | None):
            raise BadSchema(f"{where}: properties must be an object of schemas by name, got {properties!r}")
        common["properties"] = {name: of_definition(one, f"{path}.properties.{name}") for name, one in (properties or {}).items()}
        common["required"] = rest.pop("required", "all")
        if isinstance(additional, bool):
            rest["additionalProperties"] = additional
        elif additional is not None:
            common["additional_properties_type"] = of_definition(additional, f"{path}.additionalProperties")
    elif kind not in _KINDS:
        raise BadSchema(f"{where}: type must be one of {', '.join(filter(None, _KINDS))}, got {kind!r}")
    try:
        return _KINDS[kind](additional_params=rest, **common)
    except BadSchema as error:
        raise BadSchema(f"{where}: {error}") from None


_KINDS: dict[str | None, type[ApiObject]] = {
    "object": Object,
    "array": Array,
    "string": String,
    "number": Number,
    "integer": Integer,
    "boolean": Boolean,
    None: Anything,
}
