"""The sections of report.html."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from dataset_diffusion.dataset.description import flatten
from dataset_diffusion.dataset.manifest import SampleRecord
from dataset_diffusion.dataset.report.charts import bar, histogram
from dataset_diffusion.dataset.report.pictures import draw_map
from dataset_diffusion.dataset.report.statistics import Statistics
from dataset_diffusion.dataset.source import Labels

SHOWN_PAIRS = 20
MATRIX_CLASSES = 30
"""The largest number of classes for which pairs are shown as a matrix."""
SCORE_MEANINGS = {
    "confidence": "mean score of the pixels that have a class",
    "margin": "best class's score minus the second best's, over the same pixels",
    "edges": "correlation of the evidence's edges with the image's",
    "ignored": "share of pixels that are neither a class nor background",
    "components": "connected pieces of all classes",
    "flatness": "share of the image without structure",
}


@dataclass(frozen=True)
class LeftOut:
    """How many samples a filtered split keeps and leaves out, and how many it leaves out for each reason."""

    split: str
    kept: int
    left_out: int
    reasons: dict[str, int]


def render_facts(statistics: Statistics) -> str:
    """The numbers at the top."""
    labelled = sum(entry.pixels for entry in statistics.classes)
    asked = sum(entry.asked for entry in statistics.classes)
    found = sum(entry.found for entry in statistics.classes)
    confidence = sum(entry.pixels * (entry.confidence or 0) for entry in statistics.classes)
    facts = {
        "images": f"{statistics.num_samples:,}",
        "requested classes found": f"{found:,} of {asked:,}",
        "pixels with a class": _percent(labelled),
        "background pixels": _percent(1 - labelled - statistics.ignored),
        "ignored pixels": _percent(statistics.ignored),
        "mean confidence": _decimal(confidence / labelled if labelled else None),
    }
    return "\n".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts.items())


def render_classes(statistics: Statistics, labels: Labels, maps: np.ndarray) -> str:
    """A row for each class: what was asked for and what was found."""
    most_images = max(entry.asked for entry in statistics.classes)
    largest = max(entry.pixels for entry in statistics.classes)
    rows = "\n".join(
        f'<tr><td><span class="swatch" style="background:rgb{colour}"></span>{escape(entry.name)}</td>'
        f'<td class="number">{entry.asked:,}</td><td>{bar(entry.asked, most_images)}</td>'
        f'<td class="number">{f"{100 * entry.found / entry.asked:.0f}%" if entry.asked else "–"}</td>'
        f'<td class="number">{_percent(entry.pixels)}</td><td>{bar(entry.pixels, largest)}</td>'
        f'<td class="number">{_decimal(entry.confidence)}</td>'
        f"<td>{histogram(entry.areas.counts, 0, 1, f'area of {entry.name}')}</td>"
        f"<td>{histogram(entry.confidences.counts, 0, 1, f'confidence of {entry.name}')}</td>"
        f'<td><img class="map" alt="where {escape(entry.name)} is" src="{draw_map(shares)}"></td></tr>'
        for entry, colour, shares in zip(statistics.classes, labels.palette[1:], maps[1:], strict=True)
    )
    return f"""<p>Asked: images whose prompt names the class. Found: those of them that have at least one pixel of it.
Pixels: its share of all pixels. Confidence: the mean score of its pixels, 0 to 1. Area: its share of the image, 0 to 1,
where it is found. Where: how often it is at each place in the image, each class on its own scale.</p>
<div class="scroll"><table>
<tr><th>Class</th><th class="number">Asked</th><th></th><th class="number">Found</th>
<th class="number">Pixels</th><th></th><th class="number">Confidence</th><th>Area</th><th>Confidence</th>
<th>Where</th></tr>
{rows}
</table></div>"""


def render_pairs(statistics: Statistics) -> str:
    """Classes that are asked for together."""
    if not statistics.pairs:
        return "<p>No prompt asks for two classes.</p>"
    rows = "\n".join(
        f'<tr><td>{escape(first)}, {escape(second)}</td><td class="number">{asked:,}</td>'
        f'<td class="number">{100 * found / asked:.0f}%</td></tr>'
        for first, second, asked, found in statistics.pairs[:SHOWN_PAIRS]
    )
    head = '<tr><th>Pair</th><th class="number">Asked</th><th class="number">Both found</th></tr>'
    table = f'<div class="scroll"><table>{head}\n{rows}</table></div>'
    more = len(statistics.pairs) - SHOWN_PAIRS
    note = f'<p class="note">and {more} more in report.json</p>' if more > 0 else ""
    return f"""<p>Classes that prompts ask for together, and how often both are found.</p>
<div class="columns"><div>{_matrix(statistics)}</div><div>{table}{note}</div></div>"""


def _matrix(statistics: Statistics) -> str:
    """A matrix: how often each pair of classes is asked for together."""
    names = [entry.name for entry in statistics.classes if entry.asked]
    if len(names) > MATRIX_CLASSES:
        return ""
    numbers = {
        pair: asked for first, second, asked, _ in statistics.pairs for pair in ((first, second), (second, first))
    }
    most = max(numbers.values())
    head = "".join(f'<th class="above">{escape(name)}</th>' for name in names)
    rows = []
    for row in names:
        cells = "".join(_cell(row, name, numbers.get((row, name), 0), most) for name in names)
        rows.append(f"<tr><th>{escape(row)}</th>{cells}</tr>")
    return f'<div class="scroll"><table class="matrix"><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'


def _cell(first: str, second: str, number: int, most: int) -> str:
    if first == second:
        return "<td></td>"
    strength = number / most
    ink = "#fff" if strength > 0.5 else "inherit"
    style = f"background:rgba(72,120,168,{0.06 + 0.94 * strength if number else 0.04:.2f});color:{ink}"
    return f'<td style="{style}" title="{escape(first)}, {escape(second)}: {number}">{number or ""}</td>'


def render_scores(statistics: Statistics) -> str:
    """Each score's histogram and its best and worst samples."""
    if not statistics.scores:
        return "<p>The samples of this folder have no scores: it was made by an older version.</p>"
    return "\n".join(
        f"""<div class="score"><h3>{name}</h3>
<p class="note">{SCORE_MEANINGS[name]}; mean {statistics.means[name]:.3g}</p>
{histogram(scores.counts, scores.low, scores.high, name, 240, 56)}
<div class="axis"><span>{scores.low:g}</span><span>{scores.high:g}</span></div>
<div class="ends"><div><h3>Best</h3>{_strip(_ids(statistics.best[name]), name)}</div>
<div><h3>Worst</h3>{_strip(_ids(statistics.worst[name]), name)}</div></div></div>"""
        for name, scores in statistics.scores.items()
    )


def render_duplicates(counts: Mapping[str, int], shown: Sequence[Sequence[str]]) -> str:
    """Samples that look alike; `shown` are the ids of the first groups."""
    if not counts["groups"]:
        return "<p>No two images look alike (perceptual hashes).</p>"
    strips = "\n".join(f"<h3>Group {number}</h3>{_strip(group)}" for number, group in enumerate(shown, start=1))
    which = "them" if len(shown) == counts["groups"] else f"the first {len(shown)}"
    return f"""<p>{counts["samples"]:,} images look alike, groups: {counts["groups"]:,} (perceptual hashes that
differ in at most 3 of 64 bits); dd-filter duplicates=true keeps the best of each.</p>
<details><summary>Look at {which}</summary>{strips}</details>"""


def render_splits(
    splits: Mapping[str, int], sources: Mapping[str, int], filters: Sequence[LeftOut], num_planned: int
) -> str:
    """Sizes of the splits, where captions come from, and what filters left out and why."""
    made = sum(splits.values())
    missing = f" of {num_planned:,} planned" if num_planned > made else ""
    both = f"<div>{_counts('Split', splits)}</div><div>{_counts('Captions from', sources)}</div>"
    tables = [f'<p>{made:,} samples{missing}.</p><div class="columns">{both}</div>']
    for entry in filters:
        tables.append(
            f"<h3>{escape(entry.split)}</h3><p>{entry.kept:,} samples are kept, {entry.left_out:,} left out "
            f"(ImageSets/Segmentation/{escape(entry.split)}.jsonl gives the reasons for each):</p>"
            f"{_counts('Reason', entry.reasons)}"
        )
    return "\n".join(tables)


def _counts(what: str, counts: Mapping[str, int]) -> str:
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{count:,}</td></tr>' for name, count in counts.items()
    )
    return f'<table><tr><th>{what}</th><th class="number">Samples</th></tr>{rows}</table>'


def render_samples(statistics: Statistics, number: int) -> str:
    """The gallery of `number` samples, and the controls that filter it."""
    classes = "".join(f"<option>{escape(entry.name)}</option>" for entry in statistics.classes if entry.asked)
    scores = "".join(f"<option>{name}</option>" for name in statistics.scores or ["ignored"])
    which = (
        f"{number} of {statistics.num_samples:,} samples, evenly spread"
        if number < statistics.num_samples
        else "All samples"
    )
    return f"""<p>{which}: each image, and the same image under its mask. Hatched pixels are ignored in training.</p>
<noscript><p>The pictures need JavaScript; the script is included in this file.</p></noscript>
<div class="controls">
<label>class<select id="class"><option value="">all</option>{classes}</select></label>
<label>score<select id="score">{scores}</select></label>
<label>at least<input id="least" type="number" step="any"></label>
<label>at most<input id="most" type="number" step="any"></label>
<label>order<select id="order"><option value="">dataset order</option><option value="up">lowest first</option>
<option value="down">highest first</option></select></label>
<div class="pages"><span id="found"></span><button id="back" type="button">Back</button>
<button id="next" type="button">Next</button></div>
</div>
<div id="gallery" class="gallery"></div>"""


def render_settings(description: Mapping[str, Any]) -> str:
    """How the dataset was made."""
    model = {f"model.{name}": value for name, value in description["model"].items()}
    return f"""<div class="columns"><div><h3>Settings</h3>{_table(flatten(description["settings"]))}</div>
<div><h3>Model and versions</h3>{_table({**model, **dict(flatten(description["versions"]))}.items())}</div></div>"""


def _table(rows: Iterable[tuple[str, object]]) -> str:
    cells = "\n".join(
        f'<tr><td>{escape(name)}</td><td class="value">{"null" if value is None else escape(str(value))}</td></tr>'
        for name, value in rows
    )
    return f"<table>{cells}</table>"


def _strip(ids: Sequence[str], score: str = "") -> str:
    return f'<div class="strip" data-score="{score}" data-ids="{escape(json.dumps(ids))}"></div>'


def _ids(records: Sequence[SampleRecord]) -> list[str]:
    return [record.id for record in records]


def _percent(share: float) -> str:
    return f"{100 * max(share, 0):.1f}%"


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
