"""Events as if they had been polled, for tests without a broker."""

from dataclasses import dataclass

from schemas.headers import Headers


@dataclass
class PolledEvent:
    """Has what `worker.events.batch.Event` asks for."""

    body: bytes | None = b"{}"
    at: tuple[str, int, int] = ("marquee.profiles", 3, 1042)
    name: bytes | None = b"42"
    extra: Headers | None = None

    def topic(self) -> str:
        return self.at[0]

    def partition(self) -> int:
        return self.at[1]

    def offset(self) -> int:
        return self.at[2]

    def key(self) -> bytes | None:
        return self.name

    def value(self) -> bytes | None:
        return self.body

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_000

    def headers(self) -> Headers | None:
        return self.extra
