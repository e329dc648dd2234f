"""The compose file for real, in an engine of the tests' own: our image as it is, stand-ins for the published ones.

What stays untested: the published images of Kafka, Milvus, etcd, MinIO, Prometheus and Grafana, and the GPU image.
"""

import uuid

import pytest

from tests.system.deployment import Deployment
from tests.system.engine import EngineError
from tests.system.outside import answers, publish
from tests.testbed.processes import wait_for

pytestmark = [pytest.mark.system, pytest.mark.timeout(1_800)]

EVENTS = 120  # keyed apart, so that each of the 12 partitions gets some


def test_an_event_from_outside_is_answered(deployed: Deployment) -> None:
    event_id = uuid.uuid4().hex

    publish(deployed.bootstrap_servers, [{"event_id": event_id, "gender": "F", "age": 1, "occupation": 10}])

    answer = answers(deployed.bootstrap_servers, {event_id})[event_id]
    assert [movie["rank"] for movie in answer["movies"]] == [1, 2, 3, 4, 5]
    assert answer["retrieval"] == "milvus"


def test_what_people_did_is_counted(deployed: Deployment) -> None:
    wait_for("the outcomes worker scraped", lambda: deployed.query("marquee_outcomes_working") == [1.0])


def test_a_second_worker_takes_its_share(deployed: Deployment) -> None:
    # Given
    deployed.up(workers=2)
    wait_for("both workers scraped", lambda: deployed.query('sum(up{job="worker"})') == [2.0])
    # Joining moves partitions for some seconds; until both have some, one would answer everything.
    wait_for("partitions on both", lambda: _share_of_both(deployed))


def test_our_containers_run_without_root_and_cannot_write(deployed: Deployment) -> None:
    containers = [
        each for service in ("worker", "indexer", "outcomes-worker") for each in deployed.containers(service)
    ]

    assert len(containers) >= 3
    for container in containers:
        assert container["Config"]["User"] == "10001:10001"
        assert container["State"]["Health"]["Status"] == "healthy"


@pytest.mark.parametrize("service", ["worker", "indexer"])
def test_what_runs_in_one_has_no_rights_and_nowhere_to_write(deployed: Deployment, service: str) -> None:
    status = deployed.inside(service, "cat", "/proc/self/status")
    said = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)

    assert set(said["Uid"].split()) == {"10001"}
    assert {int(said[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {0}
    assert said["NoNewPrivs"] == "1"
    with pytest.raises(EngineError, match="Read-only file system"):
        deployed.inside(service, "touch", "/home/written")
    deployed.inside(service, "touch", "/tmp/written")


def test_a_worker_cannot_change_the_store(deployed: Deployment) -> None:
    with pytest.raises(EngineError, match="Read-only file system"):
        deployed.inside("worker", "touch", "/store/written")


def test_it_ends_in_order_and_leaves_nothing(deployed: Deployment) -> None:
    # When the worker is asked to end, then it does so by itself, within its grace period
    workers = [container["Id"] for container in deployed.containers("worker")]
    deployed.compose("stop", "worker")
    assert workers
    assert [deployed.exit_code(worker) for worker in workers] == [0] * len(workers)

    # And when all is taken down, then nothing is left
    deployed.compose("down", "--volumes")
    assert deployed.left_over() == {"containers": [], "volumes": [], "networks": []}


def _share_of_both(deployed: Deployment) -> bool:
    """Publish a round of events, see each answered once, and look whether both workers answered some."""
    ids = [uuid.uuid4().hex for _ in range(EVENTS)]
    publish(deployed.bootstrap_servers, [{"event_id": each, "age": 30} for each in ids])
    assert set(answers(deployed.bootstrap_servers, ids)) == set(ids)
    shares = deployed.query('marquee_batch_events_sum{job="worker"}')
    return len(shares) == 2 and min(shares) > 0
