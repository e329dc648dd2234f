"""The checker is checked: each way in which the promise can be broken is found, and nothing else is."""

from dataclasses import replace

import pytest

from tests.faults.checker import Outcome, Sent, Truth, check

TOPIC = "profiles"
SENT = [
    Sent(b"e0", 0, 0, b"digest-0", "recommendation"),
    Sent(b"e1", 0, 1, b"digest-1", "recommendation"),
    Sent(b"e2", 1, 0, b"digest-2", "recommendation"),
    Sent(b"e3", 1, 1, b"digest-3", "dead letter"),
    Sent(b"e4", 1, 2, None, "dead letter"),
]
TRUTH = Truth(TOPIC, SENT, {"r1": {"c1"}, "r2": {"c2", "c3"}})


def answer(number: int, offset: int | None = None) -> Outcome:
    """The correct outcome of an event, at an offset of its partition."""
    sent = SENT[number]
    place = (TOPIC, sent.partition, sent.offset)
    at = sent.offset if offset is None else offset
    if sent.ends_in == "dead letter":
        return Outcome("dead letter", sent.partition, at, sent.key, place, sent.digest)
    return Outcome(
        "recommendation", sent.partition, at, sent.key, place, b"any", sent.names_itself, "r1", "c1"
    )


RIGHT = [answer(number) for number in range(len(SENT))]


def found(outcomes: list[Outcome], truth: Truth = TRUTH) -> dict[str, int]:
    return check(truth, outcomes, outcomes).broken


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert found(RIGHT) == {}
    assert check(TRUTH, RIGHT, RIGHT).events == len(SENT)


def test_the_two_topics_may_be_read_in_any_order() -> None:
    assert check(TRUTH, RIGHT[::-1], RIGHT).broken == {}


@pytest.mark.parametrize("number", range(len(SENT)))
def test_a_loss(number: int) -> None:
    assert found([outcome for outcome in RIGHT if outcome.key != SENT[number].key]) == {"lost": 1}


def test_a_duplicate() -> None:
    assert found([*RIGHT, answer(1, offset=7)]) == {"duplicated": 1}


def test_a_loss_is_not_made_up_for_by_a_duplicate() -> None:
    """Counts would be equal; multisets are not."""
    assert found([*RIGHT[1:], answer(1, offset=7)]) == {"lost": 1, "duplicated": 1}


def test_an_event_that_ends_in_both_topics() -> None:
    letter = Outcome("dead letter", 0, 0, b"e0", (TOPIC, 0, 0), b"digest-0")
    assert found([*RIGHT, letter]) == {"duplicated": 1, "misjudged": 1}


def test_disorder() -> None:
    assert found([answer(0, offset=5), answer(1, offset=4), *RIGHT[2:]]) == {"out_of_order": 1}


def test_a_wrong_source() -> None:
    assert found([replace(RIGHT[0], source=(TOPIC, 0, 9)), *RIGHT[1:]]) == {"untrue": 1}
    assert found([replace(RIGHT[0], source=("other", 0, 0)), *RIGHT[1:]]) == {"untrue": 1}


def test_a_result_in_another_partition() -> None:
    assert found([*RIGHT[:2], replace(RIGHT[2], partition=5), *RIGHT[3:]]) == {"untrue": 1}


def test_a_wrong_event_id() -> None:
    assert found([replace(RIGHT[0], event_id="e1"), *RIGHT[1:]]) == {"untrue": 1}


def test_results_that_changed_places() -> None:
    """Each key once, each in order, and yet each is the other's answer."""
    crossed = [replace(RIGHT[0], source=(TOPIC, 0, 1)), replace(RIGHT[1], source=(TOPIC, 0, 0))]
    assert found([*crossed, *RIGHT[2:]]) == {"untrue": 2}


def test_a_dead_letter_with_other_bytes() -> None:
    assert found([*RIGHT[:3], replace(RIGHT[3], digest=b"other"), RIGHT[4]]) == {"altered": 1}
    assert found([*RIGHT[:4], replace(RIGHT[4], digest=b"something")]) == {"altered": 1}


def test_poison_that_was_recommended_to() -> None:
    mercy = replace(RIGHT[0], partition=1, offset=1, key=b"e3", source=(TOPIC, 1, 1), event_id="e3")
    assert found([*RIGHT[:3], mercy, RIGHT[4]]) == {"misjudged": 1}


def test_a_mixed_release() -> None:
    assert found([replace(RIGHT[0], collection="c2"), *RIGHT[1:]]) == {"mixed": 1}
    assert found([replace(RIGHT[0], release="r3"), *RIGHT[1:]]) == {"mixed": 1}
    assert found([replace(RIGHT[0], release="r2", collection="c3"), *RIGHT[1:]]) == {}


def test_a_record_of_no_event() -> None:
    stranger = replace(RIGHT[0], key=b"nobody", offset=9)
    assert found([*RIGHT, stranger]) == {"foreign": 1}
    assert found([*RIGHT, replace(stranger, key=None)]) == {"foreign": 1}


def test_an_event_whose_producer_was_never_told_may_be_there_once() -> None:
    stored = replace(RIGHT[0], key=b"unsure", offset=9, source=(TOPIC, 0, 9), event_id="unsure")
    truth = replace(TRUTH, unacknowledged={b"unsure"})
    assert found([*RIGHT, stored], truth) == {}
    assert found([*RIGHT, stored, replace(stored, offset=10)], truth) == {"duplicated": 1}


def test_an_event_that_its_producer_stored_twice_is_answered_twice() -> None:
    # Given the first event once more behind the second, as its producer sent it again
    copy = replace(SENT[0], offset=2)
    truth = replace(TRUTH, sent=[*SENT, copy])
    second = replace(RIGHT[0], offset=2, source=(TOPIC, 0, 2))
    # Then an answer to each is right, and anything else is not
    assert found([*RIGHT, second], truth) == {}
    assert found(RIGHT, truth) == {"lost": 1}
    assert found([*RIGHT, replace(second, source=(TOPIC, 0, 0))], truth) == {"lost": 1, "duplicated": 1}
    assert found([*RIGHT, second, replace(second, offset=3)], truth) == {"duplicated": 1}
    assert found([*RIGHT, replace(second, source=(TOPIC, 0, 9))], truth) == {"lost": 1, "foreign": 1}


def test_readers_that_saw_different_things() -> None:
    later = RIGHT[:-1]
    assert check(TRUTH, RIGHT, later).broken == {"lost": 1, "unlike": 1}
    assert check(TRUTH, later, RIGHT).broken == {"unlike": 1}
    assert check(TRUTH, [*RIGHT, RIGHT[0]], RIGHT).broken == {"unlike": 1}


def test_examples_are_few() -> None:
    sent = [Sent(b"%d" % number, 0, number, None) for number in range(1_000)]
    findings = check(Truth(TOPIC, sent, {}), [], [])
    assert findings.lost == 1_000
    assert len(findings.examples) == 5


KEYLESS = Sent(None, 0, 2, b"digest-5", "recommendation", event_id="e5")
ITS_ANSWER = Outcome("recommendation", 0, 2, None, (TOPIC, 0, 2), b"any", "e5", "r1", "c1")


def test_events_without_a_key_are_told_by_their_places() -> None:
    # Given two events without a key, of which one is poison
    letter = Outcome("dead letter", 1, 3, None, (TOPIC, 1, 3), b"digest-6")
    truth = replace(TRUTH, sent=[*SENT, KEYLESS, Sent(None, 1, 3, b"digest-6", "dead letter")])
    # Then an answer to each is right, and anything else is not
    assert found([*RIGHT, ITS_ANSWER, letter], truth) == {}
    assert found([*RIGHT, letter], truth) == {"lost": 1}
    assert found([*RIGHT, ITS_ANSWER, letter, replace(letter, offset=4)], truth) == {"duplicated": 1}
    assert found([*RIGHT, ITS_ANSWER, replace(letter, digest=b"other")], truth) == {"altered": 1}


def test_a_result_without_a_key_that_names_no_event_is_foreign() -> None:
    truth = replace(TRUTH, sent=[*SENT, KEYLESS])
    assert found([*RIGHT, replace(ITS_ANSWER, source=(TOPIC, 0, 9))], truth) == {"lost": 1, "foreign": 1}
    assert found([*RIGHT, replace(ITS_ANSWER, source=None)], truth) == {"lost": 1, "foreign": 1}


def test_a_result_of_an_event_without_a_key_names_its_id() -> None:
    truth = replace(TRUTH, sent=[*SENT, KEYLESS])
    assert found([*RIGHT, replace(ITS_ANSWER, event_id="e1")], truth) == {"untrue": 1}


def test_an_empty_key_is_no_null_key() -> None:
    truth = replace(TRUTH, sent=[*SENT, KEYLESS])
    assert found([*RIGHT, replace(ITS_ANSWER, key=b"")], truth) == {"lost": 1, "foreign": 1}
