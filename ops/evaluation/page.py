"""The page of an evaluation: one HTML file, its plots drawn in it, nothing loaded from anywhere."""

import re
from html import escape

from schemas.manifest import Evaluation, Figure, Protocol

Figures = dict[str, Figure]

_WIDTH, _LABEL, _ROW = 760, 240, 22  # pixels
_OURS, _THEIRS = "#2b6cb0", "#a0aec0"

DIVERSITY_FIGURES = ("ndcg@10", "intra_list_distance", "genre_distance")

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 900px; margin: 2em auto; padding: 0 1em; color: #1a202c }
table { border-collapse: collapse; margin: 1em 0 } td, th { padding: .2em .8em; text-align: right }
td:first-child, th:first-child { text-align: left } tr:nth-child(even) { background: #f7fafc }
svg text { font-size: 12px; fill: #2d3748 } .note { color: #4a5568 }
"""


def page(evaluation: Evaluation) -> str:
    """The whole page."""
    sections = "".join(_section(name, protocol) for name, protocol in sorted(evaluation.protocols.items()))
    title = f"Evaluation of release {escape(evaluation.release)}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>'
        f"<body><h1>{title}</h1><p class=note>Every movie of the catalogue is ranked, and what a person has seen is left "
        "out. Lines are 95 % intervals, by the bootstrap over users.</p>"
        f"{sections}</body></html>\n"
    )


def headlines(protocol: Protocol) -> list[str]:
    """Names of the figures over everybody, as leave_one_out.ndcg@10."""
    return [name for name in protocol.figures if name.count(".") == 1]


def _section(name: str, protocol: Protocol) -> str:
    about = f"{escape(protocol.origin)}; measured on release {escape(protocol.trained)}, seed {protocol.seed}"
    return f"<h2>{escape(name)}</h2><p class=note>{about}</p>" + "".join(
        (_table(protocol), _diversity(protocol), _beside(protocol), _groups(protocol), _lengths(protocol))
    )


def _table(protocol: Protocol) -> str:
    names = headlines(protocol)
    head = "".join(f"<th>{escape(name.partition('.')[2])}</th>" for name in names)
    rows = "".join(
        f"<tr><td>{escape(who)}</td>{''.join(_cell(figures.get(name)) for name in names)}</tr>"
        for who, figures in _everybody(protocol)
    )
    return f"<table><tr><th></th>{head}</tr>{rows}</table>"


def _everybody(protocol: Protocol) -> list[tuple[str, Figures]]:
    published = [(f"published: {model}", figures) for model, figures in protocol.published.items()]
    return [("this release", protocol.figures), *protocol.baselines.items(), *published]


def diversities(protocol: Protocol) -> dict[str, Figures]:
    """What diversity costs and gains, by strength, 0 first: NDCG@10 and the distances within lists."""
    found: dict[str, Figures] = {}
    for name, figure in protocol.figures.items():
        _, _, what = name.partition(".")
        if what in DIVERSITY_FIGURES:
            found.setdefault("0", {})[what] = figure
        elif match := re.fullmatch(r"diversity_(\d+)\.(.*)", what):
            found.setdefault(f"{int(match[1]) / 100:g}", {})[match[2]] = figure
    return found if len(found) > 1 else {}


def _diversity(protocol: Protocol) -> str:
    rows = "".join(
        f"<tr><td>{strength}</td>{''.join(_cell(figures.get(name)) for name in DIVERSITY_FIGURES)}</tr>"
        for strength, figures in diversities(protocol).items()
    )
    if not rows:
        return ""
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in DIVERSITY_FIGURES)
    return f"<h3>By diversity (MARQUEE_WORKER__DIVERSITY)</h3><table><tr><th></th>{head}</tr>{rows}</table>"


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "<td></td>"
    interval = "" if figure.low is None else f" <small>[{figure.low:.4f}, {figure.high:.4f}]</small>"
    return f"<td>{figure.value:.4f}{interval}</td>"


def _beside(protocol: Protocol) -> str:
    """The first headline of the release and of each baseline."""
    first = headlines(protocol)[0]
    bars = [(who, figures[first], who == "this release") for who, figures in _everybody(protocol)]
    return _bars(first, bars)


def _groups(protocol: Protocol) -> str:
    """NDCG@10 of each group of people, the release's beside popularity's."""
    popular = protocol.baselines.get("popularity", {})
    bars: list[tuple[str, Figure, bool]] = []
    for name, figure in protocol.figures.items():
        if name.count(".") == 2 and name.endswith(".ndcg@10") and not re.search(r"\.(last|diversity)_", name):
            group = f"{name.split('.')[1].replace('_', ' ')}, {figure.users:,} people"
            bars.append((group, figure, True))
            if name in popular:
                bars.append(("popularity", popular[name], False))
    return _bars("ndcg@10 by group", bars) if bars else ""


def _lengths(protocol: Protocol) -> str:
    """NDCG@10 above popularity's by how many movies an event carries."""
    above = protocol.differences.get("popularity", {})
    bars = [
        (f"the last {match[1]} movies", figure, True)
        for name, figure in above.items()
        if (match := re.search(r"\.last_(\d+)\.", name))
    ]
    return _bars("ndcg@10 above popularity's, without an id", bars) if bars else ""


def _bars(title: str, bars: list[tuple[str, Figure, bool]]) -> str:
    """Horizontal bars with their intervals; from 0 to the largest end."""
    largest = max((figure.high or figure.value for _, figure, _ in bars), default=0.0) or 1.0
    scale = (_WIDTH - _LABEL - 70) / largest
    drawn = "".join(_bar(row, bar, scale) for row, bar in enumerate(bars))
    height = _ROW * len(bars) + 6
    return (
        f"<h3>{escape(title)}</h3>"
        f'<svg role="img" aria-label="{escape(title)}" width="{_WIDTH}" height="{height}">{drawn}</svg>'
    )


def _bar(row: int, bar: tuple[str, Figure, bool], scale: float) -> str:
    label, figure, ours = bar
    top, width = row * _ROW + 4, max(0.0, figure.value * scale)
    middle, end = top + 7, _LABEL + (figure.high or figure.value) * scale + 6
    line = ""
    if figure.low is not None and figure.high is not None:
        low, high = (_LABEL + max(0.0, value * scale) for value in (figure.low, figure.high))
        line = f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="#1a202c"/>'
    return (
        f'<text x="{_LABEL - 8}" y="{top + 12}" text-anchor="end">{escape(label)}</text>'
        f'<rect x="{_LABEL}" y="{top}" width="{width:.1f}" height="14" fill="{_OURS if ours else _THEIRS}"/>{line}'
        f'<text x="{max(end, _LABEL + 6):.1f}" y="{top + 12}">{figure.value:.4f}</text>'
    )
