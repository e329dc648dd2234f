"""Events that cannot be answered, among those that can."""

import json
import random
import time
from collections import Counter
from dataclasses import replace

from tests.faults.load import CODECS, Draft, Raw, sound_event
from tests.faults.scenario import Scenario, Size, may
from tests.faults.scenarios.waits import ONE_CALL
from tests.faults.trial import Trial

_FUZZED_SHARE = 0.5
_POISON_SHARE = 0.1  # of the rest
_MAX_FUZZ_BYTES = 400
_RAW_SHARE = 0.2
_LONG_KEY_BYTES = 20_000
_KEYLESS_SHARE = 0.1
_YEAR_SECONDS = 365 * 24 * 60 * 60


def poisoned(event_id: str, chance: random.Random) -> Draft:
    """Half of it random or damaged bytes, which may happen to be an event; of the other half 1 in 10 is poison.

    A fifth of each has headers, a timestamp and a codec of any kind. One in ten has a null key, with either kind of producer.
    """
    draft = replace(_event(event_id, chance), keyless=chance.random() < _KEYLESS_SHARE)
    if chance.random() >= _RAW_SHARE:
        return draft
    # The result of a sound event must name its key; the others may have a key that is no text, or long.
    tails = [b""] if draft.ends_in == "recommendation" else [b"", b"\x00\xff\xfe", b"k" * _LONG_KEY_BYTES]
    return replace(draft, raw=_raw(chance), key_tail=chance.choice(tails))


def _raw(chance: random.Random) -> Raw:
    names = [b"caf\xe9", b"\xff\xfe", b"", b"traceparent", "\u00e9".encode(), b"marquee.source", b"n" * 2_000]
    values = [None, b"", b"\xff\x00", b"v" * 5_000]
    headers = [(chance.choice(names), chance.choice(values)) for _ in range(chance.randint(0, 6))]
    ahead_ms = int((time.time() + _YEAR_SECONDS) * 1_000)
    return Raw(headers, chance.choice([0, 1, -5, ahead_ms]), chance.choice(CODECS))


def _event(event_id: str, chance: random.Random) -> Draft:
    if chance.random() < _FUZZED_SHARE:
        return Draft(event_id, _fuzz(event_id, chance), None)
    if chance.random() < _POISON_SHARE:
        return Draft(event_id, _poison(event_id, chance), "dead letter")
    return sound_event(event_id, chance)


def _poison(event_id: str, chance: random.Random) -> bytes | None:
    wrong: list[object] = [
        {"event_id": event_id, "age": 300},
        {"event_id": event_id, "user_id": "27"},
        {"event_id": event_id, "k": 0},
        {"event_id": event_id, "user_id": 10**23},
        {"event_id": event_id, "recent": list(range(1, 300))},
        {"event_id": event_id, "gender": True},
        [event_id],
        event_id,
    ]
    raw = [None, b"", b"{", b"[" * 20_000, b"\xff\xfe" + event_id.encode(), b"null"]
    if chance.random() < 0.5:
        return chance.choice(raw)
    return json.dumps(chance.choice(wrong)).encode()


def _fuzz(event_id: str, chance: random.Random) -> bytes:
    if chance.random() < 0.3:
        return chance.randbytes(chance.randrange(_MAX_FUZZ_BYTES))
    value = bytearray(sound_event(event_id, chance).value or b"")
    for _ in range(chance.randint(1, 8)):
        value[chance.randrange(len(value))] = chance.randrange(256)
    return bytes(value)


def send_poison(trial: Trial) -> None:
    """The faults are in the events."""
    trial.start_workers(trial.scenario.workers)
    trial.load.finish(trial.size.events)
    kinds = Counter(sent.ends_in for sent in trial.load.sent)
    keyless = sum(sent.key is None for sent in trial.load.sent)
    ahead = sum(sent.made_at > time.time() + _YEAR_SECONDS / 2 for sent in trial.load.sent)
    old = sum(sent.made_at < _YEAR_SECONDS for sent in trial.load.sent)
    trial.notes.append("of a fifth, header names and values, timestamps and codecs of any kind, too")
    trial.notes.append(
        f"{keyless:,} with a null key, {ahead:,} with a timestamp a year ahead, {old:,} of 1970 or before"
    )
    trial.injected["poison"], trial.injected["fuzzed"] = kinds["dead letter"], kinds[None]


POISON = Scenario(
    "poison",
    "poison 1 in 10, and as many fuzzed bytes as all that: each in dead-letters once, its bytes unchanged",
    send_poison,
    small=Size(faults=1_000, events=10_000),
    full=Size(faults=110_000, events=210_000),
    budget=may(ONE_CALL * 2, why="Nothing stops: only calls to the brokers take their time."),
    workers=2,
    rate=1_000.0,
    make=poisoned,
)
