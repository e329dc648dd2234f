"""A scenario with its size and its budget: how long a partition may have no result, the sum of its waits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tests.faults.load import MakeEvent, sound_event

if TYPE_CHECKING:
    from tests.faults.trial import Trial


@dataclass(frozen=True)
class Wait:
    """Seconds of one wait, with its name in words, and how often in a row a partition may meet it."""

    seconds: float
    words: str
    times: int = 1

    def __mul__(self, times: int) -> "Wait":
        return Wait(self.seconds, self.words, self.times * times)

    @property
    def total(self) -> float:
        return self.seconds * self.times

    def __str__(self) -> str:
        often = f"{self.times} × " if self.times > 1 else ""
        return f"{often}{self.seconds:g} s {self.words}"


@dataclass(frozen=True)
class Budget:
    """The waits that may follow each other; of two at once only the longer one counts. `why` gives the reason."""

    waits: tuple[Wait, ...]
    why: str = ""

    @property
    def seconds(self) -> float:
        return sum(wait.total for wait in self.waits)

    def __str__(self) -> str:
        made_of = " + ".join(map(str, self.waits))
        return f"{made_of}. {self.why}" if self.why else made_of


def may(*waits: Wait, why: str = "") -> Budget:
    """The budget of a scenario."""
    return Budget(waits, why)


Scale = Literal["small", "full"]
Verdict = Literal["kept", "BROKEN", "not run"]
Protocol = Literal["classic", "consumer"]
BOTH: tuple[Protocol, ...] = ("classic", "consumer")


@dataclass(frozen=True)
class Size:
    """How many faults, and how many events at least."""

    faults: int
    events: int


@dataclass(frozen=True)
class Scenario:
    """Faults of one kind. `run` injects them while the load goes on; all else is the same for all scenarios.

    `budget`: how long a partition may have nothing new; a longer gap is shown, and by itself breaks no promise.
    `protocols`: the workers' group protocol; of two, each gets half of the faults (classic cooperative, and KIP-848).
    `prepare_store`: gives the store to use, from the suite's, the scenario's folder and the seed.
    `disk_mb`: the size of the single broker's disk, a tmpfs of its own; 0 for an ordinary folder. `separate`: each node in
    a network namespace of its own.
    """

    name: str
    about: str
    run: Callable[["Trial"], None]
    small: Size
    full: Size
    protocols: tuple[Protocol, ...] = ("classic",)
    budget: Budget | None = None
    workers: int = 3
    nodes: int = 1
    disk_mb: int = 0
    separate: bool = False
    rate: float = 500.0  # events a second
    make: MakeEvent = sound_event
    variables: Mapping[str, str] = field(default_factory=dict)
    prepare_store: Callable[[str, Path, int], str] = lambda store, _folder, _seed: store
    obstacle: Callable[[], str | None] = lambda: None

    def size(self, scale: Scale) -> Size:
        return self.small if scale == "small" else self.full


@dataclass(frozen=True)
class Result:
    """One line of the report. `findings` counts violations by part of the promise, `injected` the faults by kind."""

    scenario: str
    verdict: Verdict
    scale: Scale
    seed: int
    milvus: str
    reason: str = ""
    injected: dict[str, int] = field(default_factory=dict)
    events: int = 0
    findings: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    exits: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    longest_gap_s: float = 0.0
    duration_s: float = 0.0
    date: str = ""
    commit: str = ""
    kafka: str = ""  # the brokers' version
    remark: str = ""  # found out later, by hand

    @property
    def faults(self) -> int:
        return sum(self.injected.values())

    @classmethod
    def read(cls, content: dict[str, Any]) -> "Result":
        return cls(**content)
