"""How long a partition may stand still while faults of one kind are injected, added up from what it may have to wait for."""

from dataclasses import dataclass


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
    """The waits that may follow each other; of two at once only the longer one is among them. `why` says how they meet."""

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
