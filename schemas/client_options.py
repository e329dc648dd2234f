"""librdkafka's options that MARQUEE_KAFKA__CLIENT may not set: what is promised rests on them, or a setting is made for them."""

from collections.abc import Iterable, Mapping
from typing import Any

_PROMISED = "what Marquee promises rests on its own value"

REFUSED = {
    "bootstrap.servers": "set MARQUEE_KAFKA__BOOTSTRAP_SERVERS",
    "metadata.broker.list": "set MARQUEE_KAFKA__BOOTSTRAP_SERVERS",
    "message.timeout.ms": "set MARQUEE_KAFKA__DELIVERY_TIMEOUT_S",
    "delivery.timeout.ms": "set MARQUEE_KAFKA__DELIVERY_TIMEOUT_S",
    "group.protocol": "set MARQUEE_WORKER__GROUP_PROTOCOL",
    "max.poll.interval.ms": "set MARQUEE_WORKER__MAX_POLL_INTERVAL_MS",
    "transaction.timeout.ms": "set MARQUEE_WORKER__SESSION_TIMEOUT_MS, which it follows",
    "auto.offset.reset": "set MARQUEE_WORKER__START and MARQUEE_WORKER__ON_LOST_OFFSET",
    "group.id": "names follow MARQUEE_PREFIX",
    "transactional.id": "names follow MARQUEE_PREFIX and MARQUEE_WORKER__ID",
    "group.instance.id": "clients of one process would fence each other",
    "statistics.interval.ms": "readiness and metrics are made from these reports",
    **dict.fromkeys(
        (
            "delivery.report.only.error",
            "enable.auto.commit",
            "enable.auto.offset.store",
            "enable.idempotence",
            "enable.partition.eof",
            "isolation.level",
            "message.max.bytes",
            "partition.assignment.strategy",
            "partitioner",
        ),
        _PROMISED,
    ),
}
"""Why not, by option."""


# Of librdkafka, for every client; a request within a transaction must end before the transaction does.
_REQUEST_TIMEOUTS = ("socket.timeout.ms",)


def too_long(options: Mapping[str, Any], transaction_timeout_ms: int) -> str | None:
    """A sentence about a request's timeout that outlives a transaction, None where none does."""
    for option in _REQUEST_TIMEOUTS:
        said = str(options.get(option, 0))
        if not said.isdecimal() or int(said) > transaction_timeout_ms:
            return (
                f"kafka.client (MARQUEE_KAFKA__CLIENT): {option} of {said} must be a number of milliseconds, at most "
                f"{transaction_timeout_ms}, as long as a transaction lasts: MARQUEE_WORKER__SESSION_TIMEOUT_MS less 10,000"
            )
    return None


def refusal(options: Iterable[str]) -> str | None:
    """A sentence about the first option that may not be set, None where all may."""
    for option in options:
        if option in REFUSED:
            return f"{option} may not be set here: {REFUSED[option]}"
        if option.endswith("_cb") or option in ("logger", "on_delivery"):
            return f"{option} is no option of librdkafka but a function of its Python client"
    return None
