"""The statistics of the client: an outage is reported until a broker is reached, and a closed connection is no outage."""

import json

from prometheus_client import CollectorRegistry

from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.monitoring.statistics import Statistics


def said(*states: str) -> str:
    """The statistics of librdkafka with brokers in these states."""
    quiet = {"nodeid": -1, "rtt": {"cnt": 0}, "disconnects": 0, "req_timeouts": 0}
    brokers = {str(number): quiet | {"state": state} for number, state in enumerate(states)}
    return json.dumps({"brokers": brokers, "topics": {}, "rx_bytes": 0, "tx_bytes": 0})


def test_an_outage_is_reported_until_a_broker_is_reached() -> None:
    health = Health()
    health.begun()
    statistics = Statistics("profiles", health, Metrics(CollectorRegistry()), lambda: False)

    statistics.read(said("UP"))
    statistics.read(said("DOWN", "TRY_CONNECT"))
    assert health.problems == {}
    assert statistics.reachable_seconds == 0.0

    statistics.read(said("DOWN", "CONNECT"))
    assert health.problems == {"kafka": "no broker can be reached"}

    statistics.read(said("DOWN", "UP"))
    assert health.problems == {}


def test_timeouts_of_the_coordinator_are_counted_apart() -> None:
    statistics = Statistics("profiles", Health(), Metrics(CollectorRegistry()), lambda: False)

    statistics.read(said("UP"))
    assert statistics.coordinator_timeouts == 0

    told = json.loads(said("UP"))
    told["brokers"]["GroupCoordinator"] = told["brokers"]["0"] | {"req_timeouts": 3}
    statistics.read(json.dumps(told))
    statistics.read(said("UP"))  # it is being looked for
    assert statistics.coordinator_timeouts == 3
