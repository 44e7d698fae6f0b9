"""`report.html`, a dataset in one self-contained file that opens anywhere, and its figures in `report.json`."""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import islice
from pathlib import Path
from string import Template
from typing import Any

from dataset_diffusion.dataset.citation import CITATION
from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.dataset.manifest import Manifest, SampleRecord
from dataset_diffusion.dataset.plan import PLAN_FILE
from dataset_diffusion.dataset.quality import find_duplicates
from dataset_diffusion.dataset.report import sections
from dataset_diffusion.dataset.report.pictures import draw_thumbnail, mean_maps
from dataset_diffusion.dataset.report.sections import LeftOut
from dataset_diffusion.dataset.report.statistics import (
    Statistics,
    as_json,
    collect_statistics,
    evenly_spaced,
    scores_if_any,
)
from dataset_diffusion.dataset.source import Labels, labels_of, require_description, shares_of
from dataset_diffusion.dataset.splits import split_of
from dataset_diffusion.files import encode_json, write_atomically

REPORT_FILE = "report.html"
REPORT_JSON_FILE = "report.json"
GALLERY_SAMPLES = 240
"""Samples shown as thumbnails, evenly spread over the dataset: a few megabytes, however large the dataset is."""
MAP_SAMPLES = 2000
"""At most this many masks go into the maps of where each class is."""
SHOWN_GROUPS = 12
SHOWN_OF_GROUP = 6


def write_report(path: Path) -> None:
    """Write report.html and report.json of a folder whose samples, manifest and dataset.json are all written.

    Memory use does not grow with the number of samples, except for 8 bytes each.
    """
    description = require_description(path)
    labels = labels_of(path, description)
    folder = VocFolder(path, labels.palette)
    statistics = collect_statistics(Manifest(path).stream(), labels)
    groups = find_duplicates(statistics.hashes)
    even = evenly_spaced(statistics.num_samples, GALLERY_SAMPLES)
    shown_groups = [group[:SHOWN_OF_GROUP] for group in groups[:SHOWN_GROUPS]]
    records = _records_at(path, {*even, *(position for group in shown_groups for position in group)})
    extremes = [record for part in (statistics.best, statistics.worst) for found in part.values() for record in found]
    is_even = {records[position].id for position in even}
    shown = {record.id: record for record in [*records.values(), *extremes]}
    samples = [
        _describe(record, draw_thumbnail(folder, record.id, labels), record.id in is_even) for record in shown.values()
    ]
    maps = mean_maps(folder, _map_ids(path, statistics.num_samples), len(labels.names))
    splits = _count_splits(folder, description)
    left_out = _read_filters(folder)
    num_planned = _count_lines(path / PLAN_FILE)
    duplicates = {"groups": len(groups), "samples": sum(map(len, groups))}
    page = _render(
        description,
        labels,
        statistics,
        samples,
        parts={
            "Classes": sections.render_classes(statistics, labels, maps),
            "Pairs": sections.render_pairs(statistics),
            "Scores": sections.render_scores(statistics),
            "Duplicates": sections.render_duplicates(
                duplicates, [[records[position].id for position in group] for group in shown_groups]
            ),
            "Splits": sections.render_splits(splits, statistics.sources, left_out, num_planned),
            "Samples": sections.render_samples(statistics, len(even)),
            "Settings": sections.render_settings(description),
            "Citation": f"<pre>{escape(CITATION)}</pre>",
        },
    )
    content = {
        **as_json(statistics),
        "planned": num_planned,
        "splits": splits,
        "duplicates": duplicates,
        "filters": [
            {"split": entry.split, "kept": entry.kept, "left_out": entry.left_out, "reasons": entry.reasons}
            for entry in left_out
        ],
        "model": description["model"],
        "settings": description["settings"],
        "versions": description["versions"],
    }
    write_atomically(path / REPORT_JSON_FILE, encode_json(content))
    write_atomically(path / REPORT_FILE, page.encode())


def _records_at(path: Path, positions: set[int]) -> dict[int, SampleRecord]:
    return {position: record for position, record in enumerate(Manifest(path).stream()) if position in positions}


def _map_ids(path: Path, count: int) -> Iterable[str]:
    step = max(1, -(-count // MAP_SAMPLES))
    return (record.id for record in islice(Manifest(path).stream(), 0, None, step))


def _count_splits(folder: VocFolder, description: Mapping[str, Any]) -> dict[str, int]:
    if names := description.get("splits"):
        # An export: its splits are those that were chosen for it, whatever the captions say.
        return {name: _count_lines(folder.split_file.with_name(f"{name}.txt")) for name in names}
    # A folder of dd-generate: its split files are written last of all, after the report.
    shares = shares_of(description)
    counts = Counter(split_of(record.caption, shares) for record in Manifest(folder.path).stream())
    return {name: counts[name] for name in shares}


def _read_filters(folder: VocFolder) -> list[LeftOut]:
    found = []
    for reasons_file in sorted(folder.split_file.parent.glob("*.jsonl")):
        reasons: Counter[str] = Counter()
        left_out = 0
        with reasons_file.open(encoding="utf-8") as lines:
            for line in lines:
                left_out += 1
                reasons.update({reason.partition(" ")[0] for reason in json.loads(line)["reasons"]})
        kept = _count_lines(reasons_file.with_suffix(".txt"))
        found.append(LeftOut(reasons_file.stem, kept, left_out, dict(reasons.most_common())))
    return found


def _count_lines(path: Path) -> int:
    try:
        with path.open("rb") as lines:
            return sum(1 for _ in lines)
    except FileNotFoundError:
        return 0


def _describe(record: SampleRecord, picture: str, is_even: bool) -> dict[str, Any]:
    return {
        "id": record.id,
        "caption": record.caption,
        "classes": [{"name": entry.name, "share": entry.share} for entry in record.classes],
        "scores": scores_if_any(record),
        "even": is_even,
        "picture": picture,
    }


def _render(
    description: Mapping[str, Any],
    labels: Labels,
    statistics: Statistics,
    samples: Sequence[Mapping[str, Any]],
    parts: Mapping[str, str],
) -> str:
    here = Path(__file__).parent
    script = (here / "script.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Only "</script" and "<!--" can end or change a script element: without "<", neither occurs.
    data = json.dumps({"samples": samples}, ensure_ascii=False).replace("<", "\\u003c")
    model = description["model"]
    return Template((here / "template.html").read_text(encoding="utf-8")).substitute(
        title=f"{statistics.num_samples} generated images with semantic masks",
        subtitle=escape(
            f"{len(labels.names) - 1} classes (vocabulary {description['vocabulary'].get('name')}), "
            f"model {model.get('id')}, dataset-diffusion {description['versions'].get('dataset-diffusion')}"
        ),
        navigation=" ".join(f'<a href="#{name.lower()}">{name}</a>' for name in parts),
        facts=sections.render_facts(statistics),
        sections="\n".join(
            f'<section id="{name.lower()}"><h2>{name}</h2>\n{content}</section>' for name, content in parts.items()
        ),
        style=(here / "style.css").read_text(encoding="utf-8"),
        script_hash=f"sha256-{digest}",
        script=script,
        data=data,
    )
