"""`report.html`: a dataset in one file that opens anywhere and links to nothing."""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from dataset_diffusion.dataset.contact_sheet import draw_panels
from dataset_diffusion.dataset.description import flatten
from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.dataset.manifest import SampleRecord
from dataset_diffusion.vocabulary import Vocabulary

REPORT_FILE = "report.html"
GALLERY_SAMPLES = 36
SIDE = 192
GAP = 4


@dataclass(frozen=True)
class ClassRow:
    """What the samples say of one class. Shares and confidence in [0, 1]; NaN means there is nothing to average.

    `images` asked for it, `found` have at least a pixel of it; `share` of all pixels; `confidence` per pixel.
    """

    name: str
    colour: tuple[int, int, int]
    images: int
    found: int
    share: float
    confidence: float


def summarise_classes(records: Sequence[SampleRecord], vocabulary: Vocabulary) -> list[ClassRow]:
    """A row for each class of the vocabulary. All images of a folder have one size, so shares can be averaged."""
    rows = []
    for class_id in vocabulary.class_ids:
        entries = [entry for record in records for entry in record.classes if entry.label == class_id]
        total = sum(entry.share for entry in entries)
        weighted = sum(entry.share * entry.confidence for entry in entries)
        rows.append(
            ClassRow(
                name=vocabulary[class_id].name,
                colour=vocabulary.palette[class_id],
                images=len(entries),
                found=sum(entry.share > 0 for entry in entries),
                share=total / len(records),
                confidence=weighted / total if total else float("nan"),
            )
        )
    return rows


def render_report(
    folder: VocFolder, description: dict[str, Any], records: Sequence[SampleRecord], vocabulary: Vocabulary
) -> bytes:
    """The HTML of a finished dataset, UTF-8."""
    rows = summarise_classes(records, vocabulary)
    most_images, largest_share = max(row.images for row in rows), max(row.share for row in rows)
    template = Template((Path(__file__).parent / "report_template.html").read_text(encoding="utf-8"))
    page = template.substitute(
        title=escape(f"Dataset of {len(records)} images, vocabulary {vocabulary.name}"),
        facts=_facts(records, rows),
        class_rows="\n".join(_class_row(row, most_images, largest_share) for row in rows),
        gallery="\n".join(_figure(folder, record, vocabulary) for record in records[:GALLERY_SAMPLES]),
        shown=min(GALLERY_SAMPLES, len(records)),
        settings=_table(flatten(description["settings"])),
        versions=_table(flatten({"model": description["model"]} | description["versions"])),
    )
    return page.encode()


def _facts(records: Sequence[SampleRecord], rows: Sequence[ClassRow]) -> str:
    labelled = sum(row.share for row in rows)
    ignored = sum(record.ignored for record in records) / len(records)
    asked, found = sum(row.images for row in rows), sum(row.found for row in rows)
    confidence = sum(row.share * row.confidence for row in rows if row.share) / labelled if labelled else float("nan")
    facts = {
        "images": f"{len(records)}",
        "pixels of a class": _percent(labelled),
        "pixels of background": _percent(1 - labelled - ignored),
        "pixels ignored": _percent(ignored),
        "mean confidence": _decimal(confidence),
        "classes found of those asked for": f"{found} of {asked}",
    }
    return "\n".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts.items())


def _class_row(row: ClassRow, most_images: int, largest_share: float) -> str:
    cells = (
        f'<td><span class="swatch" style="background:rgb{row.colour}"></span>{escape(row.name)}</td>',
        f'<td class="number">{row.images}</td><td>{_bar(row.images, most_images)}</td>',
        f'<td class="number">{f"{100 * row.found / row.images:.0f}%" if row.images else "–"}</td>',
        f'<td class="number">{_percent(row.share)}</td><td>{_bar(row.share, largest_share)}</td>',
        f'<td class="number">{_decimal(row.confidence)}</td>',
    )
    return f"<tr>{''.join(cells)}</tr>"


def _figure(folder: VocFolder, record: SampleRecord, vocabulary: Vocabulary) -> str:
    panels = draw_panels(folder, record.id, vocabulary.palette, SIDE)
    gap = np.full((len(panels.image), GAP, 3), 255, np.uint8)
    strip = np.concatenate([panels.image, gap, panels.overlay, gap, panels.mask], axis=1)
    stream = io.BytesIO()
    Image.fromarray(strip).save(stream, "JPEG", quality=85)
    source = base64.b64encode(stream.getvalue()).decode()
    classes = ", ".join(f"{entry.name} {_percent(entry.share)}" for entry in record.classes)
    return (
        f'<figure><img alt="image, overlay and mask of {escape(record.id)}" src="data:image/jpeg;base64,{source}">'
        f"<figcaption>{escape(record.caption)}<br><span>{escape(record.id)}: {escape(classes)}, "
        f"ignored {_percent(record.ignored)}</span></figcaption></figure>"
    )


def _table(rows: Iterable[tuple[str, object]]) -> str:
    return "\n".join(
        f'<tr><td>{escape(name)}</td><td class="value">{"null" if value is None else escape(str(value))}</td></tr>'
        for name, value in rows
    )


def _bar(value: float, full: float) -> str:
    return f'<span class="bar"><span style="width:{100 * value / full if full else 0:.1f}%"></span></span>'


def _percent(share: float) -> str:
    return f"{100 * max(share, 0):.1f}%"


def _decimal(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"
