"""Dead letters on a real Kafka are found, shown, and redriven exactly once, also after a kill and by two at a time."""

import json
import signal
import subprocess
import sys

import pytest
from confluent_kafka import Message, Producer

from producer.dead_letters import Letter, Redriver, Selection, letters
from producer.reader import read_to_end
from schemas import dead_letter, kafka
from schemas.errors import FatalKafkaError
from schemas.settings import Settings
from tests.integration.stub_worker import StubWorker
from tests.testbed.processes import environment_of, marquee
from worker.kafka.topics import ensure_topics

TIMEOUT = 30.0
ALL = Selection()


@pytest.fixture
def deployment(kafka_settings: Settings) -> Settings:
    ensure_topics(kafka_settings, TIMEOUT)
    return kafka_settings


@pytest.fixture
def worker(deployment: Settings) -> StubWorker:
    return StubWorker(deployment)


def profiles(settings: Settings) -> list[Message]:
    return list(read_to_end(settings, settings.names.profiles, timeout_s=TIMEOUT))


def redrive(settings: Settings, selection: Selection = ALL) -> tuple[int, list[str]]:
    """Number of events published, and the places that are lost."""
    published, lost = 0, []
    for done in Redriver(settings, TIMEOUT).redrive(selection):
        published, lost = done.published, done.lost
    return published, lost


def all_letters(settings: Settings) -> list[Letter]:
    return list(letters(settings, ALL, TIMEOUT))


def test_an_event_comes_again_with_its_key_bytes_and_headers(
    deployment: Settings, worker: StubWorker
) -> None:
    """Given a dead letter with headers of its own, a null among them."""
    worker.reject(
        3,
        7,
        reason="invalid",
        error="age",
        key=b"42",
        value=b'{"age": 300}',
        headers=[("trace", b"t"), ("no", None)],
    )

    assert redrive(deployment) == (1, [])

    (event,) = profiles(deployment)
    assert (event.key(), event.value()) == (b"42", b'{"age": 300}')
    assert event.headers() == [("trace", b"t"), ("no", None)]


def test_redriving_twice_publishes_once_and_marks_the_time(deployment: Settings, worker: StubWorker) -> None:
    for offset in range(5):
        worker.reject(0, offset, reason="invalid", error="age")

    assert redrive(deployment)[0] == 5
    assert redrive(deployment)[0] == 0

    assert len(profiles(deployment)) == 5
    assert all(letter.redriven_at for letter in all_letters(deployment))


def test_a_letter_that_comes_after_is_redriven_alone(deployment: Settings, worker: StubWorker) -> None:
    """An event that fails again is a new dead letter at a place of its own, although its bytes are the same."""
    worker.reject(0, 0, reason="invalid", error="age")
    redrive(deployment)
    worker.reject(0, 1, reason="invalid", error="age")

    assert redrive(deployment)[0] == 1
    assert len(profiles(deployment)) == 2


def unfinished(redriver: Redriver, found: list[Letter]) -> None:
    """Leave a transaction on the brokers without its commit, as a killed redrive does."""
    redriver._producer.begin_transaction()
    redriver.produce(found)
    redriver._producer.flush(TIMEOUT)


def test_a_redrive_that_died_before_its_commit_publishes_nothing(
    deployment: Settings, worker: StubWorker
) -> None:
    worker.reject(0, 0, reason="invalid", error="age")
    dead = Redriver(deployment, TIMEOUT)
    unfinished(dead, all_letters(deployment))

    assert redrive(deployment)[0] == 1
    assert len(profiles(deployment)) == 1


def test_a_redrive_that_died_after_its_commit_is_complete(deployment: Settings, worker: StubWorker) -> None:
    worker.reject(0, 0, reason="invalid", error="age")
    Redriver(deployment, TIMEOUT).commit(all_letters(deployment))

    assert redrive(deployment)[0] == 0
    assert len(profiles(deployment)) == 1


def test_of_two_at_a_time_the_later_one_wins(deployment: Settings, worker: StubWorker) -> None:
    """Both have read that nothing was redriven; the first would commit after the second has."""
    worker.reject(0, 0, reason="invalid", error="age")
    first = Redriver(deployment, TIMEOUT)
    seen_by_first = all_letters(deployment)

    assert redrive(deployment)[0] == 1
    with pytest.raises(FatalKafkaError, match="took over"):
        first.commit(seen_by_first)

    assert len(profiles(deployment)) == 1


def test_killed_at_any_moment_it_publishes_each_once(deployment: Settings, worker: StubWorker) -> None:
    """Given letters for many transactions; kill -9 as soon as the first of them shows."""
    for offset in range(40):
        worker.reject(0, offset, reason="invalid", error="age", value=b"%d" % offset)
    code = (
        "import sys, producer.dead_letters as d; from schemas.settings import load_settings\n"
        "d.BATCH_LETTERS = 1\n"
        "for done in d.Redriver(load_settings(), 30).redrive(d.Selection()): print(done.published, flush=True)"
    )
    killed_at: list[str] = []
    for wanted in (1, 3, 5):
        with subprocess.Popen(
            [sys.executable, "-c", code], env=environment_of(deployment), stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout
            killed_at += [child.stdout.readline() for _ in range(wanted)]
            child.send_signal(signal.SIGKILL)
    assert killed_at[0] == "1\n"

    redrive(deployment)

    values = sorted(int(event.value() or b"") for event in profiles(deployment))
    assert values == list(range(40))


def test_markers_of_a_deleted_topic_do_not_count(deployment: Settings, worker: StubWorker) -> None:
    """A marker of the same place, but of a letter of another time, is none of this letter's."""
    worker.reject(0, 0, reason="invalid", error="age")
    (letter,) = all_letters(deployment)
    other = dead_letter.RedriveMarker(letter_timestamp_ms=1, redriven_at="2026-11-21T10:15:00Z")
    _mark(deployment, letter.place, other.model_dump_json().encode())

    assert redrive(deployment)[0] == 1


def test_a_marker_of_a_later_version_counts(deployment: Settings, worker: StubWorker) -> None:
    worker.reject(0, 0, reason="invalid", error="age")
    (letter,) = all_letters(deployment)
    _mark(deployment, letter.place, b'{"format": 2}')

    assert redrive(deployment)[0] == 0


def _mark(settings: Settings, place: str, value: bytes) -> None:
    producer = Producer(kafka.producer(settings.kafka))
    producer.produce(settings.names.redriven, value, place)
    assert producer.flush(TIMEOUT) == 0


def test_letters_without_their_bytes_are_reported_as_lost(deployment: Settings, worker: StubWorker) -> None:
    worker.reject(0, 0, reason="null_value", error="no value", value=None)
    worker.reject(
        0,
        1,
        reason="processing_failed",
        error="large",
        value=None,
        headers=[(dead_letter.VALUE_LENGTH, b"5000000")],
    )

    worker.reject(0, 2, reason="unreadable", error="not decoded", value=None)

    published, lost = redrive(deployment)

    assert (published, len(lost)) == (1, 2)
    assert [event.value() for event in profiles(deployment)] == [None]


def test_crashed_events_are_redriven_only_by_reason_or_place(
    deployment: Settings, worker: StubWorker
) -> None:
    worker.reject(0, 0, reason="crashed", error="SIGSEGV", value=b"first")
    worker.reject(0, 1, reason="crashed", error="SIGSEGV", value=b"second")
    worker.reject(0, 2, reason="invalid", error="age", value=b"third")
    first, second, _ = (letter.place for letter in all_letters(deployment))

    done = list(Redriver(deployment, TIMEOUT).redrive(ALL))[-1]
    assert (done.published, done.crashed) == (1, [first, second])

    assert redrive(deployment, Selection(places=frozenset({second})))[0] == 1
    assert redrive(deployment, Selection(reasons=frozenset({"crashed"})))[0] == 1
    assert sorted(event.value() or b"" for event in profiles(deployment)) == [b"first", b"second", b"third"]


def test_a_dry_run_names_the_crashed_events_that_it_leaves_out(
    deployment: Settings, worker: StubWorker
) -> None:
    worker.reject(0, 0, reason="crashed", error="SIGSEGV")

    dry = marquee(deployment, "dead-letters", "redrive", "--all", "--dry-run", "--json")

    place = f"{deployment.names.dead_letters}-0-0"
    assert json.loads(dry.stdout) == {"would_publish": 0, "places": [], "lost": [], "crashed": [place]}
    assert "--reason crashed" in dry.stderr


def filtered(settings: Settings, *options: str) -> list[str]:
    """The reasons that `list` shows."""
    done = marquee(settings, "dead-letters", "list", "--json", *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["reason"] for line in done.stdout.splitlines()]


def test_filters_and_a_dry_run_from_the_command_line(deployment: Settings, worker: StubWorker) -> None:
    worker.reject(0, 0, reason="invalid", error="age", release="a")
    worker.reject(0, 1, reason="not_json", error="no JSON", release="b")

    assert filtered(deployment) == ["invalid", "not_json"]
    assert filtered(deployment, "--reason", "not_json") == ["not_json"]
    assert filtered(deployment, "--release", "a") == ["invalid"]
    assert filtered(deployment, "--until", "1h") == []
    assert filtered(deployment, "--since", "1h", "--limit", "1") == ["invalid"]
    dry = marquee(deployment, "dead-letters", "redrive", "--release", "b", "--dry-run", "--json")
    assert json.loads(dry.stdout)["places"] == [f"{deployment.names.dead_letters}-0-2"]
    assert profiles(deployment) == []
    done = marquee(deployment, "dead-letters", "redrive", "--release", "b", "--json")
    assert json.loads(done.stdout) == {"published": 1, "lost": [], "crashed": []}
    raw = marquee(deployment, "dead-letters", "show", "0-2", "--raw")
    assert raw.stdout == "{"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["redrive"], 2, "--all"),
        (["redrive", "--reason", "tired"], 2, "no such reason"),
        (["list", "--since", "yesterday"], 2, "ISO 8601"),
        (["show", "0-99"], 1, "no dead letter"),
    ],
)
def test_wrong_use_is_answered_in_a_sentence(
    deployment: Settings, arguments: list[str], code: int, said: str
) -> None:
    done = marquee(deployment, "dead-letters", *arguments)
    assert (done.returncode, said in " ".join(done.stderr.split())) == (code, True)
