"""A schema registry by Confluent's API: our JSON Schemas are registered and checked there.

The bytes on the wire stay plain JSON: a value has no prefix, and no reader needs the registry.
"""

import json
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64encode
from dataclasses import dataclass

from schemas.errors import MarqueeError, SettingsError, UnreachableError
from schemas.published import json_schemas
from schemas.settings import RegistrySettings, Settings
from schemas.topics import MESSAGES, Message, topic_of

Json = dict[str, object]

# Our schemas mean the same in it, and registries do not compare later dialects (Apicurio 3.3 answers 500).
_DIALECT = "http://json-schema.org/draft-07/schema#"
_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"


@dataclass(frozen=True)
class Registered:
    """A schema in the registry: the id that it has there."""

    subject: str
    id: int


def subject_of(message: Message, settings: Settings) -> str:
    """TopicNameStrategy where a topic has one kind of record; TopicRecordNameStrategy where it has several."""
    topic = topic_of(message)
    name = topic.name_in(settings.names)
    return f"{name}-value" if len(topic.messages) == 1 else f"{name}-{message.name}"


def register(settings: Settings) -> list[Registered]:
    """Register the schema of every kind of record; one that is there already stays as it is.

    Whether a changed one is compatible is for the registry to say, by the rule that its owner has set for the subject.

    Raises:
        UnreachableError, SettingsError: the registry does not answer, or refuses us; no URL is set.
        MarqueeError: a schema is not compatible with the one that is there.
    """
    return [
        _registered(settings, message, "/subjects/{subject}/versions")
        for message in MESSAGES
        if message.model is not None
    ]


def check(settings: Settings) -> list[Registered]:
    """Look this version's schemas up. Raises as `register`, and MarqueeError also where one is not registered."""
    return [
        _registered(settings, message, "/subjects/{subject}")
        for message in MESSAGES
        if message.model is not None
    ]


def _registered(settings: Settings, message: Message, path: str) -> Registered:
    subject = subject_of(message, settings)
    schema = json_schemas()[message.name] | {"$schema": _DIALECT}
    body: Json = {"schemaType": "JSON", "schema": json.dumps(schema)}
    answer = _Registry(settings.registry).post(path.format(subject=_quoted(subject)), body, subject)
    return Registered(subject, int(str(answer["id"])))


class _Registry:
    """The calls that are needed of https://docs.confluent.io/platform/current/schema-registry/develop/api.html."""

    def __init__(self, settings: RegistrySettings) -> None:
        if settings.url is None:
            raise SettingsError("no schema registry is named; set MARQUEE_REGISTRY__URL")
        self._url = settings.url.rstrip("/")
        self._timeout_s = settings.timeout_s
        self._headers = {"Content-Type": _MEDIA_TYPE, "Accept": f"{_MEDIA_TYPE}, application/json"}
        if settings.username is not None:
            password = settings.password.get_secret_value() if settings.password else ""
            basic = b64encode(f"{settings.username}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {basic}"

    def post(self, path: str, body: Json, subject: str) -> Json:
        """One call about a subject, and the object that it gives."""
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}{path}", data, self._headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:
                found: Json = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            raise self._explain(error, subject) from None
        except (OSError, ValueError) as error:
            raise UnreachableError(
                f"the schema registry at {self._url} did not answer ({error}); start it, or set MARQUEE_REGISTRY__URL"
            ) from None

    def _explain(self, error: urllib.error.HTTPError, subject: str) -> MarqueeError:
        where = f"the schema registry at {self._url}"
        said = " ".join(error.read().decode(errors="replace").split())[:300]
        match error.code:
            case 401 | 403:
                return SettingsError(
                    f"{where} refused the credentials ({error.code}); check MARQUEE_REGISTRY__USERNAME and MARQUEE_REGISTRY__PASSWORD"
                )
            case 404:
                return MarqueeError(
                    f"{where} does not have this version's schema of {subject} ({said}); register it with `marquee topics`"
                )
            case 409:
                return MarqueeError(
                    f"{where} has a {subject} that this version's is not compatible with ({said}); "
                    "upgrade what wrote it first, or change the subject's rule there"
                )
        return MarqueeError(f"{where} refused {subject} ({error.code}: {said}); see its log")


def _quoted(subject: str) -> str:
    return urllib.parse.quote(subject, safe="")
