"""The worker's page in a real browser."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Producer
from prometheus_client import CollectorRegistry

from schemas import dead_letter, kafka
from schemas.dead_letter import Reason
from schemas.settings import HttpSettings, Settings
from tests.system.browser import Browser
from tests.testbed.indexing import activate
from tests.testbed.processes import Process
from tests.unit.events import PolledEvent
from worker.events import Answer, Record
from worker.monitoring.http import Health, HttpServer, serve
from worker.monitoring.metrics import Metrics
from worker.monitoring.page import Access, Latest, Page
from worker.monitoring.trend import Trend

pytestmark = pytest.mark.system

HOSTILE = (
    "</code></script><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
)
TOKEN = "0123456789abcdef"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as started:
        yield started


def hostile_answers() -> list[Answer]:
    """A movie's title, a person's id and an event's bytes that would all like to be markup."""
    value = json.dumps({"event_id": HOSTILE, "user_id": None, "movies": [{"title": HOSTILE}]}).encode()
    headers: list[tuple[str, str | bytes | None]] = [(dead_letter.ERROR, HOSTILE.encode())]
    bad = PolledEvent(body=HOSTILE.encode())
    return [
        Answer(PolledEvent(), Record("recommendations", 3, None, value, [])),
        Answer(bad, Record("dead-letters", 3, None, HOSTILE.encode(), headers), Reason.NOT_JSON),
    ]


def served(settings: HttpSettings, answers: Sequence[Answer]) -> HttpServer:
    """A port with a page that has two points, and these answers."""
    registry, health, latest = CollectorRegistry(), Health(), Latest()
    metrics, trend = Metrics(registry), Trend(registry)
    latest.committed(answers)
    health.begun()
    health.set("milvus", HOSTILE)
    for _ in range(3):
        metrics.serving("<b>release</b>", "c", 1, "cpu")
        metrics.lag.waiting(0, 7)
        trend.look(time.time())
    return serve(settings, health, registry, Page("<i>worker</i>", Access(settings), trend, latest))


def give(browser: Browser, token: str) -> None:
    """Into the page's form."""
    browser.evaluate(
        f"document.querySelector('#token').value = '{token}';"
        "document.querySelector('#token-form').requestSubmit();"
    )


def test_text_of_strangers_stays_text(browser: Browser) -> None:
    with served(HttpSettings(port=0), hostile_answers()) as server:
        browser.open(f"http://{server.address}/")
        browser.wait_for("document.querySelector('#dead-letters code') !== null")
        browser.wait_for("document.querySelector('#problems li') !== null")

        assert HOSTILE in browser.text("#recommendations")
        assert browser.text("#dead-letters code") == HOSTILE
        assert browser.text("#problems") == f"milvus: {HOSTILE}"
        assert "<i>worker</i>" in browser.text("#who")
        assert browser.text("#release") == "<b>release</b>"
        assert (
            browser.evaluate("document.querySelectorAll('img, body script, body i:not(.key), b').length") == 1
        )
        assert browser.evaluate("document.title") == "Marquee, <i>worker</i>"
        assert browser.complaints == []
        elsewhere = [
            each for each in browser.requested if not each.startswith((f"http://{server.address}/", "data:,"))
        ]
        assert elsewhere == []


def test_before_anything_was_measured_it_says_what_it_waits_for(browser: Browser) -> None:
    registry, health, access = CollectorRegistry(), Health(), Access(HttpSettings(port=0))
    page = Page("worker", access, Trend(registry), Latest())
    with serve(HttpSettings(port=0), health, registry, page) as server:
        browser.open(f"http://{server.address}/")
        browser.wait_for("document.querySelector('#problems li') !== null")
        browser.wait_for("document.querySelector('#recommendations')?.textContent === 'none yet'")

        assert browser.text("#problems") == "start: the process is still starting"
        assert (browser.text("#rate"), browser.text("#lag"), browser.text("#release")) == ("–", "–", "none")
        assert browser.complaints == []


@pytest.mark.parametrize("width", [360, 1160])
def test_it_fits_the_window(tmp_path: Path, width: int) -> None:
    with (
        served(HttpSettings(port=0, token=TOKEN), hostile_answers()) as server,
        Browser(tmp_path / "profile", width=width) as browser,
    ):
        browser.open(f"http://{server.address}/")
        browser.wait_for("document.querySelector('#token-form')?.hidden === false")
        browser.wait_for("document.querySelector('#chart-rate path') !== null")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        drawn = "[...document.querySelectorAll('svg')].every(each => each.clientWidth > 200)"
        assert browser.evaluate(drawn)

        give(browser, TOKEN)
        browser.wait_for("document.querySelector('#dead-letters code') !== null")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_a_script_that_got_in_would_not_run(browser: Browser) -> None:
    with served(HttpSettings(port=0), []) as server:
        browser.open(f"http://{server.address}/")
        browser.wait_for("document.querySelector('#lag')?.textContent === '7'")

        browser.evaluate(
            "{ const added = document.createElement('script'); added.textContent = \"document.title = 'owned'\";"
            "document.body.append(added); }"
        )

        assert browser.evaluate("document.title") != "owned"
        assert any("Content Security Policy" in complaint for complaint in browser.complaints)


def test_the_token_is_asked_for_and_opens(browser: Browser) -> None:
    settings = HttpSettings(port=0, token=TOKEN)
    with served(settings, hostile_answers()) as server:
        browser.open(f"http://{server.address}/")
        browser.wait_for("document.querySelector('#token-form')?.hidden === false")
        assert browser.evaluate("document.querySelector('#people').hidden")

        for token, works in (("wrong", False), (TOKEN, True)):
            give(browser, token)
            shown = "people" if works else "people-note"
            browser.wait_for(f"document.querySelector('#{shown}').hidden === false")

        assert HOSTILE in browser.text("#recommendations")
        assert not [address for address in browser.requested if TOKEN in address]


def test_a_live_worker_and_its_swap_are_seen(
    lite_settings: Settings, fusion_store: str, tmp_path: Path
) -> None:
    settings = lite_settings.model_copy(update={"store": fusion_store})
    activate(settings)
    with Process("worker", settings, tmp_path) as worker, Browser(tmp_path / "profile") as browser:
        worker.wait_ready(120)
        browser.open(f"http://127.0.0.1:{worker.port}/")
        browser.wait_for("document.querySelector('#state')?.textContent === 'answering'")

        # When events come
        producer = Producer(kafka.producer(settings.kafka))
        for number in range(200):
            value = json.dumps({"event_id": f"e{number}", "user_id": number + 1, "age": 27}).encode()
            producer.produce(settings.names.profiles, value if number else b"{", str(number).encode())
        assert producer.flush(60) == 0

        # Then their rate, latency, lists and the dead letter are seen
        browser.wait_for("Number(document.querySelector('#rate').textContent.replace(',', '')) > 0")
        browser.wait_for("/s$/.test(document.querySelector('#p99').textContent)")
        browser.wait_for("document.querySelectorAll('#chart-rate path').length >= 2")
        browser.wait_for("document.querySelectorAll('#recommendations tr').length >= 8")
        browser.wait_for("document.querySelector('#dead-letters').textContent.includes('not_json')")
        browser.wait_for("document.querySelector('#bars-now').textContent === '4 partitions'")

        # And when another release takes over, the swap
        activate(settings, epoch=2)
        browser.wait_for("document.querySelector('#swaps-now').textContent === '1 swap'")
        assert "epoch 2" in browser.text("#release-more")

        # And when the worker is gone, that it is
        assert worker.stop() == 0
        browser.wait_for("document.querySelector('#state').textContent === 'this worker cannot be reached'")
