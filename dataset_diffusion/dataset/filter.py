"""Another split of a finished folder, with its better samples; the files stay, and the reasons are recorded."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dataset_diffusion.dataset.manifest import SampleRecord
from dataset_diffusion.dataset.quality import find_duplicates
from dataset_diffusion.dataset.report.write import write_report
from dataset_diffusion.dataset.source import FolderSource
from dataset_diffusion.errors import InputError
from dataset_diffusion.files import write_atomically
from dataset_diffusion.settings.filter import HIGH_IS_GOOD, SCORES, FilterSettings

SPLITS_DIR = Path("ImageSets", "Segmentation")


@dataclass
class _Samples:
    """What is kept in memory of a split's samples: a few numbers for each.

    `ranks[i]` says how good sample i is; higher is better. `by_class[label]` holds pairs (rank for that class, i).
    """

    ids: list[str] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)
    ranks: list[float] = field(default_factory=list)
    by_class: dict[int, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))
    reasons: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))


def scores_of(record: SampleRecord) -> dict[str, float]:
    """A sample's scores, by the names in `SCORES`. Raises InputError if its folder has none."""
    quality = record.quality
    if quality is None:
        raise InputError(
            f"{record.id}: its line of manifest.jsonl has no quality scores; regenerate the folder with this version"
        )
    return {name: record.ignored if name == "ignored" else getattr(quality, name) for name in SCORES}


def filter_split(settings: FilterSettings) -> str:
    """Write the split and the reasons, and return a summary.

    Raises InputError if the folder is not finished, has no such split, or has no scores, if the split to be written is
    one that the folder was made with, or if nothing would be left.
    """
    source = FolderSource(Path(settings.folder).expanduser())
    if settings.output_split in source.splits:
        raise InputError(f"output={settings.output_split}: is a split that the folder was made with; name another")
    samples = _read(source, settings)
    if settings.best_share is not None:
        _leave_out_worst(samples, settings.best_share, settings.rank_by)
    if settings.duplicates:
        _leave_out_duplicates(samples)
    kept = [sample_id for index, sample_id in enumerate(samples.ids) if index not in samples.reasons]
    if not kept:
        raise InputError(f"split={settings.split}: none of its {len(samples.ids)} samples is left; filter less")
    lines = [
        json.dumps({"id": samples.ids[index], "reasons": reasons}, ensure_ascii=False)
        for index, reasons in sorted(samples.reasons.items())
    ]
    path = source.path / SPLITS_DIR / f"{settings.output_split}.txt"
    write_atomically(path.with_suffix(".jsonl"), "".join(f"{line}\n" for line in lines).encode())
    write_atomically(path, "".join(f"{sample_id}\n" for sample_id in kept).encode())
    write_report(source.path)
    counts = Counter(reason.partition(" ")[0] for reasons in samples.reasons.values() for reason in reasons)
    why = "".join(f"\n  {reason}: {count}" for reason, count in counts.most_common())
    reasons = f"left out because of{why}" if why else "nothing was left out"
    return f"kept {len(kept)} of {len(samples.ids)} samples in {path}; {reasons}"


def _read(source: FolderSource, settings: FilterSettings) -> _Samples:
    samples = _Samples()
    sign = 1 if settings.rank_by in HIGH_IS_GOOD else -1
    for index, sample in enumerate(source.samples(settings.split)):
        record = sample.record
        scores = scores_of(record)
        rank = sign * scores[settings.rank_by]
        samples.ids.append(record.id)
        samples.ranks.append(rank)
        if settings.duplicates and record.quality:
            samples.hashes.append(int(record.quality.phash, 16))
        if settings.best_share is not None:
            for entry in record.classes:
                samples.by_class[entry.label].append(
                    (entry.confidence if settings.rank_by == "confidence" else rank, index)
                )
        if reasons := _beyond(scores, settings.min or {}, settings.max or {}):
            samples.reasons[index] += reasons
    return samples


def _beyond(scores: Mapping[str, float], lowest: Mapping[str, float], highest: Mapping[str, float]) -> list[str]:
    low = [f"{name} {scores[name]:g} < {limit:g}" for name, limit in lowest.items() if scores[name] < limit]
    return low + [f"{name} {scores[name]:g} > {limit:g}" for name, limit in highest.items() if scores[name] > limit]


def _leave_out_worst(samples: _Samples, share: float, rank_by: str) -> None:
    """Leave out samples that are not among the best of any of their classes; at least one of each class stays."""
    good: set[int] = set()
    for ranked in samples.by_class.values():
        left = [entry for entry in ranked if entry[1] not in samples.reasons]
        left.sort(key=lambda entry: (-entry[0], entry[1]))
        good.update(index for _, index in left[: math.ceil(share * len(left))])
    for index in range(len(samples.ids)):
        if index not in good and index not in samples.reasons:
            samples.reasons[index].append(f"best_share not among the best {share:g} of any of its classes by {rank_by}")


def _leave_out_duplicates(samples: _Samples) -> None:
    left = [index for index in range(len(samples.ids)) if index not in samples.reasons]
    for group in find_duplicates([samples.hashes[index] for index in left]):
        best = max(group, key=lambda position: (samples.ranks[left[position]], -position))
        for position in group:
            if position != best:
                samples.reasons[left[position]].append(f"duplicate of {samples.ids[left[best]]}")
