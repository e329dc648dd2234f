"""Release commands: sends one to the indexer, and follows `releases` until it is carried out."""

import time
from collections.abc import Callable

from producer.cluster import deliver
from producer.reader import Reader
from schemas.errors import MarqueeError
from schemas.release import CommandOutcome, ReleaseCommand, ReleaseRecord
from schemas.releases import ReleasesView
from schemas.settings import Settings

_POLL_SECONDS = 0.2

Progress = Callable[[ReleaseRecord], None]


class NoOutcomeError(MarqueeError):
    """The indexer did not carry a command out within the time given."""


def send_command(settings: Settings, command: ReleaseCommand, timeout_s: float = 10.0) -> None:
    """Send a command. Raises as `deliver`."""
    key = command.release.encode() if command.release else None
    deliver(
        settings.kafka,
        settings.names.release_commands,
        [(key, command.model_dump_json().encode())],
        timeout_s,
    )


def wait_for_outcome(
    settings: Settings,
    command: ReleaseCommand,
    timeout_s: float,
    progress: Progress | None = None,
    connect_timeout_s: float = 10.0,
) -> CommandOutcome:
    """Follow `releases` until the command's status is in it.

    `progress` is called with the record of the command's release, each time it changes.

    Raises:
        NoOutcomeError: there is none within `timeout_s`.
        UnreachableError, SettingsError, MarqueeError: as `Reader`.
    """
    view, under_way = ReleasesView(), None
    deadline = time.monotonic() + timeout_s
    with Reader(
        settings, [settings.names.releases], start="beginning", timeout_s=connect_timeout_s
    ) as reader:
        while time.monotonic() < deadline:
            for message in reader.poll(_POLL_SECONDS):
                change = view.apply(message.key(), message.value())
                if change is None or not isinstance(change.record, ReleaseRecord):
                    continue
                if change.record.command_id == command.command_id:
                    under_way = change.record
                    if progress:
                        progress(change.record)
                if found := view.outcome(command.command_id):
                    return found[1]
    raise _not_carried_out(under_way, timeout_s)


def _not_carried_out(under_way: ReleaseRecord | None, timeout_s: float) -> NoOutcomeError:
    if under_way:
        return NoOutcomeError(
            f"the command is still being carried out after {timeout_s:g} s ({under_way.release} is {under_way.state.value}, "
            f"{under_way.progress:.0%} indexed) and goes on: follow it with `marquee releases`, or wait longer (--timeout)"
        )
    return NoOutcomeError(
        f"the command was not carried out within {timeout_s:g} s; see whether `marquee indexer` runs and is ready "
        f"(/health/ready), and look again with `marquee status`"
    )
