"""The contract for machines: a JSON Schema (2020-12) of each kind of record, and AsyncAPI 3.0 of all of them."""

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from schemas.manifest import Manifest
from schemas.names import DEFAULT_PARTITIONS, Names
from schemas.topics import MESSAGES, PROCESSES, TOPICS, Message, Topic

Json = dict[str, object]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schemas() -> dict[str, Json]:
    """The schema of each kind of JSON record and of the manifest, by name."""
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
        "channels": {topic.name: _channel(topic, topic.name_in(names)) for topic in TOPICS},
        "operations": {_verb(topic): _operation(topic) for topic in TOPICS},
        "components": {
            "messages": {message.name: _message(message) for message in MESSAGES},
            "schemas": shared["$defs"],
        },
    }


def _channel(topic: Topic, address: str) -> Json:
    return {
        "address": address,
        "messages": {
            message.name: {"$ref": f"#/components/messages/{message.name}"} for message in topic.messages
        },
        "bindings": {
            "kafka": {
                "topic": address,
                "partitions": 1 if topic.single else DEFAULT_PARTITIONS,
                "topicConfiguration": {"cleanup.policy": topic.cleanup.split(",")},
                "bindingVersion": "0.5.0",
            }
        },
    }


def _receivers(topic: Topic) -> list[str]:
    """The processes that read what applications and commands write; none where a process writes it."""
    if topic.written_by & PROCESSES.keys():
        return []
    return [process for role, process in PROCESSES.items() if role in topic.read_by]


def _verb(topic: Topic) -> str:
    return f"{'receive' if _receivers(topic) else 'send'}_{topic.name}"


def _operation(topic: Topic) -> Json:
    receivers = _receivers(topic)
    return {
        "action": "receive" if receivers else "send",
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "summary": f"Read by {' and '.join(receivers)}." if receivers else "Written in transactions.",
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
        described["summary"] = "The event's own bytes, unchanged; the headers contain the reason."
    if message.headers:
        described["headers"] = {
            "type": "object",
            "properties": {
                name: {"type": "string", "description": text} for name, text in message.headers.items()
            },
        }
    return described
