"""Statistics of a dataset's records, counted in one pass; no more than 8 bytes per sample are kept."""

import heapq
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from dataset_diffusion.dataset.manifest import SampleRecord
from dataset_diffusion.dataset.source import Labels
from dataset_diffusion.settings.filter import HIGH_IS_GOOD, SCORES

BINS = 20
RANGES = {"edges": (-1.0, 1.0), "components": (0.0, 40.0)}
"""The ranges of score histograms that do not span [0, 1]; larger values are counted in the last bin."""
EXTREMES = 6
"""How many of the best, and of the worst, samples are shown."""


@dataclass
class Histogram:
    """Counts in `BINS` equal bins between `low` and `high`; values outside are counted in the first or last bin."""

    low: float = 0.0
    high: float = 1.0
    counts: list[int] = field(default_factory=lambda: [0] * BINS)

    def add(self, value: float) -> None:
        """Count a value."""
        place = int((value - self.low) / (self.high - self.low) * BINS)
        self.counts[min(max(place, 0), BINS - 1)] += 1


@dataclass
class ClassStatistics:
    """A class's statistics: `asked` samples have it in their prompt, and `found` of them have at least one pixel of it.

    `pixels` is its share of all pixels, and `confidence` their mean score (None if there are none). `areas` is the
    histogram of its share of each image it is found in, and `confidences` the histogram of its confidence there.
    """

    name: str
    asked: int = 0
    found: int = 0
    pixels: float = 0.0
    confidence: float | None = None
    areas: Histogram = field(default_factory=Histogram)
    confidences: Histogram = field(default_factory=Histogram)


@dataclass
class Statistics:
    """Statistics over all samples. Shares are in [0, 1]; `pairs` says how often two classes are asked for together."""

    num_samples: int
    classes: list[ClassStatistics]
    ignored: float
    pairs: list[tuple[str, str, int, int]]
    """First and second class, samples that ask for both, samples that have both."""
    sources: dict[str, int]
    scores: dict[str, Histogram]
    means: dict[str, float]
    best: dict[str, list[SampleRecord]]
    worst: dict[str, list[SampleRecord]]
    hashes: "array[int]"


class _Extremes:
    """The samples with the highest keys among all that were added."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, SampleRecord]] = []

    def add(self, key: float, position: int, record: SampleRecord) -> None:
        # Among equal keys, the earlier sample wins; `-position` also keeps records from being compared.
        entry = (key, -position, record)
        if len(self._heap) < EXTREMES:
            heapq.heappush(self._heap, entry)
        elif entry[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, entry)

    def records(self) -> list[SampleRecord]:
        return [record for _, _, record in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


def collect_statistics(records: Iterable[SampleRecord], labels: Labels) -> Statistics:
    """Collect the statistics. All images of a folder have the same size, so shares of pixels can be averaged."""
    classes = [ClassStatistics(name) for name in labels.names[1:]]
    weighted = [0.0] * len(classes)
    asked_pairs: Counter[tuple[int, int]] = Counter()
    found_pairs: Counter[tuple[int, int]] = Counter()
    sources: Counter[str] = Counter()
    scores = {name: Histogram(*RANGES.get(name, (0.0, 1.0))) for name in SCORES}
    sums = dict.fromkeys(SCORES, 0.0)
    best, worst = ({name: _Extremes() for name in SCORES} for _ in range(2))
    hashes = array("Q")
    count = scored = 0
    ignored = 0.0
    for position, record in enumerate(records):
        count += 1
        ignored += record.ignored
        sources[record.source.partition(":")[0]] += 1
        for entry in record.classes:
            statistics = classes[entry.label - 1]
            statistics.asked += 1
            if entry.share > 0:
                statistics.found += 1
                statistics.pixels += entry.share
                weighted[entry.label - 1] += entry.share * entry.confidence
                statistics.areas.add(entry.share)
                statistics.confidences.add(entry.confidence)
        share_of = {entry.label: entry.share for entry in record.classes}
        for pair in combinations(sorted(share_of), 2):
            asked_pairs[pair] += 1
            found_pairs[pair] += all(share_of[label] > 0 for label in pair)
        if record.quality is None:
            continue
        scored += 1
        hashes.append(int(record.quality.phash, 16))
        for name, value in scores_if_any(record).items():
            scores[name].add(value)
            sums[name] += value
            sign = 1 if name in HIGH_IS_GOOD else -1
            best[name].add(sign * value, position, record)
            worst[name].add(-sign * value, position, record)
    for statistics, total in zip(classes, weighted, strict=True):
        statistics.confidence = total / statistics.pixels if statistics.pixels else None
        statistics.pixels /= max(count, 1)
    return Statistics(
        num_samples=count,
        classes=classes,
        ignored=ignored / max(count, 1),
        pairs=[
            (labels.names[first], labels.names[second], number, found_pairs[first, second])
            for (first, second), number in sorted(asked_pairs.items(), key=lambda item: (-item[1], item[0]))
        ],
        sources=dict(sources.most_common()),
        scores=scores if scored else {},
        means={name: total / scored for name, total in sums.items()} if scored else {},
        best={name: extremes.records() for name, extremes in best.items()},
        worst={name: extremes.records() for name, extremes in worst.items()},
        hashes=hashes,
    )


def scores_if_any(record: SampleRecord) -> dict[str, float]:
    """A sample's scores, by the names in `SCORES`; only its ignored share if an older version made the folder."""
    if record.quality is None:
        return {"ignored": record.ignored}
    return {name: record.ignored if name == "ignored" else getattr(record.quality, name) for name in SCORES}


def evenly_spaced(count: int, number: int) -> list[int]:
    """At most `number` positions among `count`, evenly spread, the first and the last included."""
    return sorted(set(np.linspace(0, count - 1, min(number, count)).round().astype(int).tolist())) if count else []


def as_json(statistics: Statistics) -> dict[str, Any]:
    """The content of report.json that comes from the statistics."""
    return {
        "samples": statistics.num_samples,
        "ignored_share": statistics.ignored,
        "sources": statistics.sources,
        "classes": [
            {
                "name": entry.name,
                "asked": entry.asked,
                "found": entry.found,
                "pixel_share": entry.pixels,
                "confidence": entry.confidence,
                "area_histogram": entry.areas.counts,
                "confidence_histogram": entry.confidences.counts,
            }
            for entry in statistics.classes
        ],
        "pairs": [
            {"classes": [first, second], "asked": asked, "found": found}
            for first, second, asked, found in statistics.pairs
        ],
        "scores": {
            name: {
                "mean": statistics.means[name],
                "range": [histogram.low, histogram.high],
                "histogram": histogram.counts,
                "best": _ids(statistics.best[name]),
                "worst": _ids(statistics.worst[name]),
            }
            for name, histogram in statistics.scores.items()
        },
    }


def _ids(records: Sequence[SampleRecord]) -> list[str]:
    return [record.id for record in records]
