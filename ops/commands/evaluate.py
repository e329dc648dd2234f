"""`marquee evaluate`: the quality of a release, compared with baselines."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands.options import AsJson, Store, settings_with
from ops.commands.printing import interruptible, training_progress

if TYPE_CHECKING:
    from rich.console import Console

    from schemas.manifest import Evaluation, Figure, Protocol

SPLITS = ("leave-one-out", "global-time", "users", "cold-movies", "random")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)


def evaluate(
    release: Annotated[str, typer.Argument(help="A release of the store.")],
    data: Annotated[Path, typer.Option(help="Folder with the data that it was trained on.")],
    split: Annotated[
        str | None,
        typer.Option(
            help="Data that is held out: leave-one-out, global-time, users, cold-movies, or random (stars; fusion). By "
            "default the release's own; for another, a similar release is trained, once.",
        ),
    ] = None,
    fold: Annotated[int, typer.Option(min=0, max=4, help="Fifth of the users; for --split users.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted training.")] = False,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 uses every core.")] = 1,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder of checkpoints. By default in your cache.")
    ] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Rank all movies for users whose next movies are held out, and compare with popularity, item-kNN and mean ratings.

    The evaluation is written to STORE/evaluations/RELEASE.json, which the check before activation reads, and to a page with
    plots beside it. Intervals are 95 %, by the bootstrap over users. Several strengths of diversity are compared by NDCG@10
    and by the distance between the movies of a list, in vectors and in genres.
    """
    from rich.console import Console

    from ops.data.movielens import load
    from ops.evaluation.evaluate import ALL_FOLDS, Evaluator, split_name
    from ops.evaluation.holdout import Source
    from ops.training.devices import use_threads
    from ops.training.loop import checkpoints_folder
    from ops.training.train import Resuming, train_alike
    from worker.release.store import ReleaseStore

    release_store = ReleaseStore(settings_with(store=store).store)
    manifest = release_store.manifest(release)
    wanted = split or manifest.data.split
    if wanted not in SPLITS:
        raise typer.BadParameter(
            f"{wanted!r} holds out no data: use {', '.join(SPLITS)}", param_hint="--split"
        )
    # A release of one fold is evaluated on that fold.
    own = int(manifest.training.get("fold", 0)) if split is None else fold
    source = Source(load(data), data, wanted, own)
    use_threads(threads)
    console = Console(stderr=True)
    resuming = Resuming(checkpoints or checkpoints_folder(), resume)
    with interruptible(console) as interrupted, training_progress(console) as report:
        train = partial(
            train_alike,
            source=source,
            store=release_store,
            resuming=resuming,
            report=report,
            interrupted=interrupted,
        )
        evaluation = Evaluator(release_store, source, train).evaluate(release)
    protocol = next(
        protocol
        for name, protocol in evaluation.protocols.items()
        if name == split_name(source, protocol.origin)
    )
    if as_json:
        typer.echo(json.dumps(_flat(evaluation, protocol)))
    else:
        _show(Console(), protocol)
        if source.split == "users" and ALL_FOLDS in evaluation.protocols:
            _show(Console(), evaluation.protocols[ALL_FOLDS])
        console.print(f"written to {release_store.url}/evaluations, {release}.json and {release}.html")


def _flat(evaluation: "Evaluation", protocol: "Protocol") -> dict[str, object]:
    """Flatten the figures by name, as leave_one_out.ndcg@10, with intervals, baselines and published figures."""
    from ops.evaluation.evaluate import ALL_FOLDS

    whole = evaluation.protocols.get(ALL_FOLDS) if protocol.split == "users" else None
    return {
        "release": evaluation.release,
        "trained": protocol.trained,
        "split": protocol.split,
        "origin": protocol.origin,
        "seed": protocol.seed,
        **_figures(protocol),
        **({"all_folds": _figures(whole)} if whole else {}),
    }


def _figures(protocol: "Protocol") -> dict[str, object]:
    return {
        **{name: figure.value for name, figure in protocol.figures.items()},
        "intervals": {
            name: [figure.low, figure.high]
            for name, figure in protocol.figures.items()
            if figure.low is not None
        },
        "baselines": _values(protocol.baselines),
        "differences": {
            name: {key: [figure.value, figure.low, figure.high] for key, figure in figures.items()}
            for name, figures in protocol.differences.items()
        },
        "published": _values(protocol.published),
    }


def _values(beside: "dict[str, dict[str, Figure]]") -> dict[str, dict[str, float]]:
    return {name: {key: figure.value for key, figure in figures.items()} for name, figures in beside.items()}


def _show(console: "Console", protocol: "Protocol") -> None:
    from rich.table import Table

    from ops.evaluation.page import headlines

    # `_show_diversity` shows the distances.
    names = [name for name in headlines(protocol) if not name.endswith("_distance")]
    table = Table(
        "",
        *(name.partition(".")[2] for name in names),
        title=f"{protocol.split} ({protocol.origin})",
        title_justify="left",
    )
    for who, figures in protocol.baselines.items():
        table.add_row(who, *(_text(figures.get(name)) for name in names))
    for model, figures in protocol.published.items():
        table.add_row(f"published: {model}", *(_text(figures.get(name)) for name in names))
    table.add_row(protocol.trained, *(_text(protocol.figures[name]) for name in names), style="bold")
    console.print(table)
    _show_diversity(console, protocol)


def _show_diversity(console: "Console", protocol: "Protocol") -> None:
    from rich.table import Table

    from ops.evaluation.page import DIVERSITY_FIGURES, diversities

    table = Table(
        "diversity", *DIVERSITY_FIGURES, title="With MARQUEE_WORKER__DIVERSITY", title_justify="left"
    )
    for strength, figures in diversities(protocol).items():
        table.add_row(strength, *(_text(figures.get(name)) for name in DIVERSITY_FIGURES))
    if table.row_count:
        console.print(table)


def _text(figure: "Figure | None") -> str:
    if figure is None:
        return ""
    if figure.low is None or figure.high is None:
        return f"{figure.value:.4f}"
    return f"{figure.value:.4f} ({figure.low:.4f} to {figure.high:.4f})"
