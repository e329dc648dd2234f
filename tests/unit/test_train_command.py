"""`marquee train` as a person sees it: a release's name on stdout, figures beside, Ctrl-C without loss."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from worker.release.store import ReleaseStore


@pytest.fixture
def app() -> typer.Typer:
    from ops.commands import data, release, train

    app = typer.Typer()
    for command in (data, release, train):
        command.register(app)
    return app


def test_prints_name_and_figures(app: typer.Typer, generated_data: Path, tmp_path: Path) -> None:
    folders = ["--data", str(generated_data), "--store", str(tmp_path), "--checkpoints", str(tmp_path / "c")]
    arguments = ["train", "--model", "fusion", *folders, "--epochs", "1", "--json"]

    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert [figures["release"]] == ReleaseStore(str(tmp_path)).names()
    assert figures["rmse"] > 0
    assert set(figures["baselines"]) == {"global_mean", "item_mean", "biases"}
    assert f"{figures['baselines']['biases']:.4f}" in result.stderr


def test_the_sequence_model_is_the_default(app: typer.Typer, generated_data: Path, tmp_path: Path) -> None:
    folders = ["--data", str(generated_data), "--store", str(tmp_path), "--checkpoints", str(tmp_path / "c")]
    small = ["--epochs", "2", "--dimension", "8", "--batch", "4000"]

    result = CliRunner().invoke(app, ["train", *folders, *small, "--split", "leave-one-out", "--json"])

    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    manifest = ReleaseStore(str(tmp_path)).manifest(figures["release"])
    assert (manifest.model, manifest.metric, manifest.data.split) == ("sequence", "IP", "leave-one-out")
    assert manifest.training["validation_ndcg@10"]["sequence"] == figures["ndcg@10"]
    assert "2 epochs take about 5 s" in result.stderr
    assert "epoch 1: NDCG@10 0." in result.stderr
    assert not list((tmp_path / "c").iterdir())  # a written release needs no checkpoint


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--model", "svd"], "is no model"),
        (["--split", "random"], "is no split of the sequence"),
        (["--model", "fusion", "--dimension", "64"], "options of the sequence"),
    ],
)
def test_wrong_wishes_are_refused_before_any_work(
    app: typer.Typer, tmp_path: Path, options: list[str], complaint: str
) -> None:
    result = CliRunner().invoke(app, ["train", "--data", str(tmp_path / "none"), *options])

    assert result.exit_code == 2
    assert complaint in " ".join(result.output.replace("│", " ").split())


def test_export_prints_the_new_name(app: typer.Typer, fusion_store: str, tmp_path: Path) -> None:
    shutil.copytree(fusion_store, tmp_path / "store")
    store = ReleaseStore(str(tmp_path / "store"))
    release = store.names()[0]

    result = CliRunner().invoke(app, ["export", release, "--store", str(tmp_path / "store")])

    assert result.exit_code == 0, result.output
    assert store.manifest(result.stdout.strip()).training["exported_from"] == release


def test_ctrl_c_keeps_the_best_weights_so_far(generated_data: Path, tmp_path: Path) -> None:
    log = tmp_path / "stderr"
    with log.open("w") as stderr:
        command = [sys.executable, "-c", "from ops.cli import main; main()", "train"]
        folders = [
            *("--data", str(generated_data), "--store", str(tmp_path / "store")),
            *("--checkpoints", str(tmp_path / "checkpoints")),
        ]
        arguments = ["--model", "fusion", *folders, "--epochs", "100000"]
        process = subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        try:
            # The store is made when training begins.
            deadline = time.monotonic() + 60
            while not (tmp_path / "store").exists() and process.poll() is None:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            time.sleep(1.0)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()

    assert process.returncode == 0, log.read_text()
    assert "best weights so far" in log.read_text()
    store = ReleaseStore(str(tmp_path / "store"))
    assert store.names() == [output.strip()]
    assert store.load(output.strip()).manifest.training["interrupted"] is True


def test_data_commands_generate_and_check(app: typer.Typer, tmp_path: Path) -> None:
    sizes = ["--users", "50", "--movies", "60", "--ratings", "1500"]

    made = CliRunner().invoke(app, ["data", "generate", str(tmp_path / "d"), "--seed", "4", *sizes, "--json"])
    checked = CliRunner().invoke(app, ["data", "check", str(tmp_path / "d"), "--json"])

    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout) == json.loads(checked.stdout)
    assert json.loads(made.stdout)["ratings"] == 1500
