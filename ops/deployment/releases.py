"""The releases of a deployment, by its store, its topic and its workers."""

import re
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from schemas.errors import MarqueeError
from schemas.manifest import Evaluation, Manifest
from schemas.release import TrialRecord, WorkerRecord, now
from schemas.releases import ReleasesView
from schemas.settings import Settings
from worker.kafka.reader import read_releases
from worker.release.store import ReleaseStore

_ANSWER_SECONDS = 2.0
_SAMPLE = re.compile(r"^(marquee_shadow_\w+)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class ReleaseRow:
    """A release. `epoch` is its last one, `size` is in bytes, and metrics are named `metric (split)`."""

    release: str
    state: str
    reason: str | None = None
    progress: float | None = None
    epoch: int | None = None
    active: bool = False
    trial: str | None = None
    movies: int | None = None
    dimension: int | None = None
    index: str | None = None
    recall_at_5: float | None = None
    size: int | None = None
    created_at: datetime | None = None
    collection: str | None = None
    served_by: list[str] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    last_command: str | None = None

    @property
    def age(self) -> timedelta | None:
        return now() - self.created_at if self.created_at else None


@dataclass(frozen=True)
class TrialReport:
    """A trial, and for a shadow the comparison by the live workers since its start."""

    record: TrialRecord
    compared: int = 0
    overlap_at_5: float | None = None
    score_shift: float | None = None
    active_ms: float | None = None
    candidate_ms: float | None = None

    def as_json(self) -> dict[str, Any]:
        figures = {name: value for name, value in asdict(self).items() if name != "record"}
        return self.record.model_dump(mode="json") | figures


@dataclass(frozen=True)
class Overview:
    """The releases, newest first, with those of the store that are not indexed; the trial, if any; and the problems that
    live workers have with a release, by worker."""

    rows: list[ReleaseRow]
    trial: TrialReport | None
    problems: dict[str, str]


def overview(settings: Settings, timeout_s: float) -> Overview:
    """Read the state of all releases.

    Raises:
        UnreachableError: Kafka did not answer within `timeout_s`.
        ReleaseError: the store cannot be read.
    """
    view = read_releases(settings, timeout_s)
    store = ReleaseStore(settings.store)
    names = sorted({*view.releases, *store.names()}, reverse=True)
    rows = [_row(name, view, store) for name in names]
    problems = {worker.worker: worker.problem for worker in view.live_workers() if worker.problem}
    return Overview(rows, _trial(view) if view.trial else None, problems)


def active_titles(settings: Settings, timeout_s: float) -> Mapping[int, str] | None:
    """Read the active release's titles by movie id; None if no release is active, or the store lacks its files.

    Raises:
        UnreachableError: Kafka did not answer within `timeout_s`.
    """
    active = read_releases(settings, timeout_s).active
    if active is None:
        return None
    try:
        catalogue = ReleaseStore(settings.store).catalogue(active.release)
    except MarqueeError:
        return None
    return dict(zip(catalogue.movie_ids.tolist(), catalogue.titles, strict=True))


def _row(name: str, view: ReleasesView, store: ReleaseStore) -> ReleaseRow:
    record, active, trial = view.releases.get(name), view.active, view.trial
    manifest = _manifest(store, name)
    serving = [worker.worker for worker in view.live_workers() if name in (worker.release, worker.trial)]
    last = record.commands[-1] if record and record.commands else None
    return ReleaseRow(
        name,
        record.state.value if record else "not indexed",
        reason=record.reason if record else None,
        progress=record.progress if record else None,
        epoch=record.epoch if record else None,
        active=active is not None and active.release == name,
        trial=trial.kind if trial and trial.release == name else None,
        movies=manifest.movies if manifest else record.rows if record else None,
        dimension=manifest.dimension if manifest else record.dimension if record else None,
        index=record.index if record else None,
        recall_at_5=record.recall_at_5 if record else None,
        size=sum(entry.size for entry in manifest.files.values()) if manifest else None,
        created_at=manifest.created_at if manifest else None,
        collection=record.collection if record else None,
        served_by=serving,
        metrics=_metrics(store, name) or (_trained(manifest) if manifest else {}),
        last_command=f"{last.action} {last.outcome}: {last.reason or ''}".rstrip(": ") if last else None,
    )


def _manifest(store: ReleaseStore, name: str) -> Manifest | None:
    try:
        return store.manifest(name)
    except MarqueeError:
        return None  # removed from the store, or of a newer format


def _metrics(store: ReleaseStore, name: str) -> dict[str, float]:
    try:
        found = Evaluation.model_validate(store.evaluation(name) or {"release": name, "results": []})
    except (MarqueeError, ValidationError):
        return {}
    return {f"{result.metric} ({result.split})": result.value for result in found.results}


def _trained(manifest: Manifest) -> dict[str, float]:
    """Figures of the training, on data that it held out, for a release without an evaluation."""
    found = {}
    for measured in ("rmse_stars", "validation_ndcg@10"):
        figures = manifest.training.get(measured)
        if isinstance(figures, dict):
            for name in ("test", manifest.model):
                if isinstance(figures.get(name), float):
                    found[f"{measured} (training)"] = figures[name]
    return found


def _trial(view: ReleasesView) -> TrialReport:
    assert view.trial is not None
    if view.trial.kind == "canary":
        return TrialReport(view.trial)
    totals: dict[str, float] = {}
    for worker in view.live_workers():
        if worker.trial == view.trial.release:
            for sample, value in _samples(worker):
                totals[sample] = totals.get(sample, 0.0) + value

    def mean(name: str, labels: str = "") -> float | None:
        count = totals.get(f"{name}_count{labels}", 0.0)
        return totals[f"{name}_sum{labels}"] / count if count else None

    active, candidate = (mean("marquee_shadow_batch_seconds", f'by="{by}"') for by in ("active", "candidate"))
    return TrialReport(
        view.trial,
        compared=int(totals.get('marquee_shadow_events_totaloutcome="compared"', 0)),
        overlap_at_5=mean("marquee_shadow_overlap"),
        score_shift=mean("marquee_shadow_score_shift"),
        active_ms=None if active is None else active * 1_000,
        candidate_ms=None if candidate is None else candidate * 1_000,
    )


def _samples(worker: WorkerRecord) -> Iterator[tuple[str, float]]:
    """Read the shadow's samples from a worker's /metrics; none if it cannot be reached from here."""
    try:
        with urllib.request.urlopen(f"http://{worker.http}/metrics", timeout=_ANSWER_SECONDS) as page:
            text = page.read().decode()
    except (OSError, ValueError):
        return
    for name, labels, value in _SAMPLE.findall(text):
        yield f"{name}{labels}", float(value)
