"""Which classes occur together in images: from your table, or counted in COCO's instances."""

from collections import defaultdict
from itertools import combinations
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dataset_diffusion.errors import InputError, first_line
from dataset_diffusion.prompts.coco_captions import read_coco_instances
from dataset_diffusion.prompts.company import Cooccurrence
from dataset_diffusion.vocabulary import Vocabulary

TABLE_REMEDY = "write {person: {sofa: 3, dog: 1}, ...}: how often classes appear together"


def read_cooccurrence(path: Path, vocabulary: Vocabulary) -> Cooccurrence:
    """The table in a YAML file, {class: {class: weight}}, or the numbers of images in COCO's `instances_*.json`.

    A pair can be given in either order, or in both, which adds up. Raises InputError that names the file and the class.
    """
    table: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    if path.suffix == ".json":
        for class_ids in read_coco_instances(path, vocabulary).values():
            for first, second in combinations(class_ids, 2):
                table[first][second] += 1
                table[second][first] += 1
    else:
        for first, second, weight in _read_table(path, vocabulary):
            table[first][second] += weight
            table[second][first] += weight
    return {class_id: dict(others) for class_id, others in table.items()}


def _read_table(path: Path, vocabulary: Vocabulary) -> list[tuple[int, int, float]]:
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except FileNotFoundError as error:
        raise InputError(f"prompts.cooccurrence={path}: no such file") from error
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"{path}: not a readable YAML file ({first_line(error)})") from error
    if not isinstance(content, dict) or not content or not all(isinstance(row, dict) for row in content.values()):
        raise InputError(f"{path}: is not a table; {TABLE_REMEDY}")
    pairs = []
    for first, row in content.items():
        for second, weight in row.items():
            where = f"{path}: {first!s}, {second!s}"
            labels = [_label(path, str(name), vocabulary) for name in (first, second)]
            if type(weight) not in (int, float) or not 0 <= weight < float("inf"):
                raise InputError(f"{where}: {weight!r} is not a number of 0 or more; {TABLE_REMEDY}")
            if labels[0] == labels[1]:
                raise InputError(f"{where}: are the same class; {TABLE_REMEDY}")
            pairs.append((labels[0], labels[1], float(weight)))
    return pairs


def _label(path: Path, name: str, vocabulary: Vocabulary) -> int:
    label = vocabulary.class_id(name)
    if label is None:
        raise InputError(f"{path}: {name!r} is not a class of vocabulary {vocabulary.name}; correct it")
    return label
