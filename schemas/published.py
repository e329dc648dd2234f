"""The contract for machines: a JSON Schema (2020-12) of each kind of record, and AsyncAPI 3.0 of all of them."""

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from schemas.manifest import Manifest
from schemas.messages import MESSAGES, Message
from schemas.topics import DEFAULT_PARTITIONS, Names

Json = dict[str, object]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_COMPACTED = {"outcomes", "redriven", "releases", "withdrawals"}
_RECEIVED = {
    "profiles": "the workers",
    "release_commands": "the indexer",
    "feedback": "the outcomes worker",
}


def json_schemas() -> dict[str, Json]:
    """A schema by the name of what it describes: each kind of record that is JSON, and a release's manifest."""
    models: dict[str, type[BaseModel]] = {
        message.name: message.model for message in MESSAGES if message.model
    }
    models["manifest"] = Manifest
    return {name: {"$schema": DIALECT, **model.model_json_schema()} for name, model in models.items()}


def asyncapi(version: str) -> Json:
    """The AsyncAPI document of a deployment with the default prefix; `version` is Marquee's."""
    names = Names()
    models = [(message.model, "validation") for message in MESSAGES if message.model]
    _, shared = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    topics = dict.fromkeys(message.topic for message in MESSAGES)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Marquee",
            "version": version,
            "description": "Profile events in, movie lists out. Every committed profile event ends in exactly one committed "
            "recommendation or dead letter; read with isolation.level=read_committed.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"local": {"host": "127.0.0.1:9092", "protocol": "kafka"}},
        "channels": {topic: _channel(topic, getattr(names, topic)) for topic in topics},
        "operations": {_verb(topic): _operation(topic) for topic in topics},
        "components": {
            "messages": {message.name: _message(message) for message in MESSAGES},
            "schemas": shared["$defs"],
        },
    }


def _channel(topic: str, address: str) -> Json:
    one = topic in {"outcomes", "redriven", "release_commands", "releases", "withdrawals"}
    return {
        "address": address,
        "messages": {
            message.name: {"$ref": f"#/components/messages/{message.name}"}
            for message in MESSAGES
            if message.topic == topic
        },
        "bindings": {
            "kafka": {
                "topic": address,
                "partitions": 1 if one else DEFAULT_PARTITIONS,
                "topicConfiguration": {"cleanup.policy": ["compact" if topic in _COMPACTED else "delete"]},
                "bindingVersion": "0.5.0",
            }
        },
    }


def _verb(topic: str) -> str:
    return f"{'receive' if topic in _RECEIVED else 'send'}_{topic}"


def _operation(topic: str) -> Json:
    received = topic in _RECEIVED
    return {
        "action": "receive" if received else "send",
        "channel": {"$ref": f"#/channels/{topic}"},
        "summary": f"Read by {_RECEIVED[topic]}." if received else "Written in transactions.",
    }


def _message(message: Message) -> Json:
    described: Json = {
        "name": message.name,
        "bindings": {
            "kafka": {
                "key": {"type": ["string", "null"], "description": message.key},
                "bindingVersion": "0.5.0",
            }
        },
    }
    if message.model:
        described["payload"] = {"$ref": f"#/components/schemas/{message.model.__name__}"}
    else:
        described["contentType"] = "application/octet-stream"
        described["summary"] = "The event's own bytes, untouched; the headers say why it is here."
    if message.headers:
        described["headers"] = {
            "type": "object",
            "properties": {
                name: {"type": "string", "description": text} for name, text in message.headers.items()
            },
        }
    return described
