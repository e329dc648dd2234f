"""The properties of a node depend on the number of nodes."""

from pathlib import Path

import pytest

from ops.local.kafka_config import load_cluster, load_nodes, write_properties


@pytest.mark.parametrize(("nodes", "session"), [(1, None), (3, "1500")])
def test_a_lone_node_is_not_quick_to_leave_its_office(
    tmp_path: Path, nodes: int, session: str | None
) -> None:
    all_nodes = load_nodes(tmp_path, load_cluster(tmp_path, nodes), None)
    write_properties(all_nodes[0], all_nodes, {})
    lines = all_nodes[0].properties_file.read_text().splitlines()
    said = dict(line.split("=", 1) for line in lines)
    assert said.get("broker.session.timeout.ms") == session


def test_given_properties_win(tmp_path: Path) -> None:
    nodes = load_nodes(tmp_path, load_cluster(tmp_path, 3), None)
    write_properties(nodes[0], nodes, {"broker.session.timeout.ms": "7"})
    assert "broker.session.timeout.ms=7\n" in nodes[0].properties_file.read_text()


def test_values_are_escaped_as_java_reads_them(tmp_path: Path) -> None:
    folder = tmp_path / "żółw, a=b"
    nodes = load_nodes(folder, load_cluster(folder, 1), None)
    write_properties(nodes[0], nodes, {"one": " ż\\n\U0001f3ac", "two": "a:b=c#d"})
    said = nodes[0].properties_file.read_text(encoding="ascii")
    assert "log.dirs=data\n" in said
    assert "one=\\u0020\\u017c\\\\n\\ud83c\\udfac\n" in said
    assert "two=a:b=c#d\n" in said
