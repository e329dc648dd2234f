"""Workers of one host whose brokers and temporary folders are spelt in different ways."""

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from producer.endings import EndingReader, Result
from schemas.settings import Settings
from tests.integration.test_worker import publish
from tests.testbed.indexing import activate
from tests.testbed.processes import Process, wait_for
from worker.kafka.reader import read_releases

pytestmark = pytest.mark.timeout(300)


def live_ids(settings: Settings) -> dict[str, str]:
    """The live workers' ids by the address of their port."""
    return {
        str(worker.http).rsplit(":", 1)[1]: worker.worker
        for worker in read_releases(settings, 60).live_workers()
    }


def test_workers_of_one_host_have_ids_of_their_own_and_a_restart_takes_its_own_again(
    lite_settings: Settings, fusion_store: str, tmp_path: Path
) -> None:
    settings = lite_settings.model_copy(update={"store": fusion_store})
    activate(settings)
    port = settings.kafka.bootstrap_servers.split(",")[0].rsplit(":", 1)[1]
    spelt = (f"localhost:{port}", f"127.0.0.1:{port}")
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()

    def worker(number: int) -> Process:
        return Process(
            "worker",
            settings,
            tmp_path,
            MARQUEE_KAFKA__BOOTSTRAP_SERVERS=spelt[number],
            TMPDIR=str(folders[number]),
        )

    with ExitStack() as running:
        first, second = (running.enter_context(worker(number)) for number in (0, 1))
        for process in (first, second):
            process.wait_ready(120)
        ids = wait_for("two ids", lambda: found if len(found := live_ids(settings)) == 2 else None)
        assert len(set(ids.values())) == 2

        sent = publish(settings, [json.dumps({"user_id": user}).encode() for user in range(1, 101)])
        answered: set[tuple[int, int]] = set()
        with EndingReader(settings, start="beginning") as reader:

            def all_there() -> bool:
                answered.update(each.source for each in reader.endings(0.2) if isinstance(each, Result))
                return answered == set(sent)

            wait_for("all answers", all_there, 120)

        first.kill()
        again = running.enter_context(worker(0))
        again.wait_ready(120)
        assert live_ids(settings)[str(again.port)] == ids[str(first.port)]
        assert second.child.poll() is again.child.poll() is None
        assert "fenced" not in second.output + again.output
