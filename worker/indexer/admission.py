"""What a release command is about, and what speaks against carrying it out before anything is begun."""

from schemas.release import RECORD_FORMAT, WORKER_KEY_PREFIX, ReleaseCommand, release_key
from schemas.releases import ReleasesView


def subject(command: ReleaseCommand, view: ReleasesView) -> str | None:
    """The release that a command is about; where none is named, the one on trial, before the active one, or that itself."""
    if command.release:
        return command.release
    if command.action == "end" and view.trial:
        return view.trial.release
    if view.active is None:
        return None
    return (
        view.active.previous if command.action == "rollback" and view.active.previous else view.active.release
    )


def reason_to_ignore(command: ReleaseCommand, view: ReleasesView) -> str | None:
    """Why a command has nothing to do any more: it was seen before, or its time has passed."""
    seen = view.outcome(command.command_id)
    if seen:
        record, outcome = seen
        at = f"{outcome.at:%Y-%m-%d %H:%M:%S} UTC"
        return f"it was seen before, and {outcome.outcome} for release {record.release} at {at}"
    if command.expected_epoch is not None and command.expected_epoch != view.epoch:
        return f"it expected epoch {command.expected_epoch}, and epoch {view.epoch} is active"
    if command.action == "rollback" and view.active and not (command.release or view.active.previous):
        return "no release was active before this one"
    return None


def newer_records(view: ReleasesView, *, workers: bool = False) -> str | None:
    """Why this version must not write states of releases, or with `workers` drop anything: a newer one has written records
    that it cannot read. They may name collections and epochs that nothing else tells of."""
    newer = [key for key in view.newer if workers or not key.startswith(WORKER_KEY_PREFIX)]
    if not newer:
        return None
    return (
        f"a newer version has written {', '.join(sorted(newer))}, and this one reads format {RECORD_FORMAT}: "
        "upgrade this indexer"
    )


def is_newer(release: str, view: ReleasesView) -> bool:
    """Whether the release's own record is one that this version must not replace."""
    return release_key(release) in view.newer
