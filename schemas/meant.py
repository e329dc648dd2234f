"""What a person means by a value: nothing by an empty one, and a choice whatever its case."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo


def as_meant(said: Any, fields: Mapping[str, FieldInfo]) -> Any:
    """The values of a group, with empty texts of optional settings left out and choices in their own case."""
    if not isinstance(said, Mapping):
        return said
    return {name: _meant(value, fields[name]) if name in fields else value for name, value in said.items()}


def _meant(value: Any, field: FieldInfo) -> Any:
    if not isinstance(value, str):
        return value
    if not value and field.default is None:
        return None
    return {choice.lower(): choice for choice in _choices(field.annotation)}.get(value.lower(), value)


def _choices(annotation: object) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from (choice for choice in get_args(annotation) if isinstance(choice, str))
    else:
        for inner in get_args(annotation):
            yield from _choices(inner)
