"""README.md of a dataset on the Hugging Face hub: what it is, how to load it, how it was made."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dataset_diffusion.dataset.citation import CITATION
from dataset_diffusion.dataset.contact_sheet import CONTACT_SHEET_FILE
from dataset_diffusion.dataset.description import flatten
from dataset_diffusion.files import write_atomically

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""The hub's size categories, each with its upper bound."""


@dataclass
class Counts:
    """A split's samples, the samples that were asked to show each class, and the bytes of images and masks."""

    num_samples: int
    per_class: Counter[str]
    num_bytes: int


def write_data_card(
    folder: Path, description: Mapping[str, Any], label_names: Sequence[str], counts: Mapping[str, Counts]
) -> None:
    """Write README.md with the YAML block that the hub and `load_dataset` read."""
    total = sum(split.num_samples for split in counts.values())
    head = {
        "pretty_name": f"{total} generated images with semantic masks",
        "task_categories": ["image-segmentation"],
        "tags": ["synthetic", "semantic-segmentation", "diffusion", "dataset-diffusion"],
        "size_categories": [next((name for end, name in SIZES if total < end), "n>1M")],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"data/{split}-*.parquet"} for split in counts],
            }
        ],
    }
    picture = (
        f"![samples: image, overlay, mask]({CONTACT_SHEET_FILE})\n" if (folder / CONTACT_SHEET_FILE).exists() else ""
    )
    model = description["model"]
    text = f"""---
{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---

# {total} generated images with semantic masks

Images of the diffusion model `{model.get("id")}` (revision `{model.get("revision")}`) with masks from its attention,
made by [dataset-diffusion](https://arxiv.org/abs/2309.14303) {description["versions"].get("dataset-diffusion", "")}.
No image was labelled by hand. The licence of the model applies to the images.

{picture}
```python
from datasets import load_dataset

dataset = load_dataset("NAME OR FOLDER", split="{next(iter(counts))}")  # streaming=True reads as it goes
dataset[0]["image"], dataset[0]["label"]  # PIL images; the label's pixels are 0 background, 1 ... a class, 255 ignored
```

`id2label.json` names the labels, as transformers' examples for semantic segmentation expect. `record` is JSON: seed,
source of the caption, share and confidence of each class, quality scores.

## Samples

{_table(["split", "samples", "MB"], _split_rows(counts))}

Samples that were asked to show each class:

{_table(["label", "class", *counts], _class_rows(label_names, counts))}

## Settings

{_table(["setting", "value"], ((f"`{name}`", f"`{value}`") for name, value in flatten(description["settings"])))}

## Citation

```bibtex
{CITATION}
```
"""
    write_atomically(folder / "README.md", text.encode())


def _split_rows(counts: Mapping[str, Counts]) -> list[list[object]]:
    return [[name, split.num_samples, f"{split.num_bytes / 1e6:.1f}"] for name, split in counts.items()]


def _class_rows(label_names: Sequence[str], counts: Mapping[str, Counts]) -> list[list[object]]:
    return [
        [label, name, *(split.per_class[name] for split in counts.values())]
        for label, name in enumerate(label_names)
        if label
    ]


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)
