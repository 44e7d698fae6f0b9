"""The settings of `dd-filter`, checked when they are made.

The docstring below a field is what `--help` says about it.
"""

from dataclasses import dataclass

from dataset_diffusion.settings.checks import one_of, require
from dataset_diffusion.settings.generate import SPLIT_NAME

SCORES = ("confidence", "margin", "edges", "ignored", "components", "flatness")
"""What a sample can be judged by; of the first three more is better, of the others less."""
HIGH_IS_GOOD = SCORES[:3]


@dataclass(frozen=True)
class FilterSettings:
    """All settings of a `dd-filter` run."""

    folder: str
    """a folder that dd-generate has finished; none of its images and masks is touched"""
    split: str = "train"
    """the split to choose from"""
    output: str | None = None
    """name of the split that is written, none that the folder was made with; null: <split>_filtered"""
    min: dict[str, float] | None = None
    """leave out what scores less, e.g. '{confidence: 0.7, margin: 0.2}'; scores are confidence, margin, edges (more is
    better), ignored, components, flatness (less is better)"""
    max: dict[str, float] | None = None
    """leave out what scores more, e.g. '{ignored: 0.3, flatness: 0.8, components: 20}'"""
    best_share: float | None = None
    """of each class, keep this share of its samples, the best by rank_by; a sample that is good for one of its classes
    stays"""
    rank_by: str = "confidence"
    """the score for best_share, and to choose which duplicate to keep; with best_share, confidence is the class's"""
    duplicates: bool = False
    """true: of images that look alike keep the best"""

    def __post_init__(self) -> None:
        require(bool(self.folder), "folder", self.folder, "name a folder that dd-generate made")
        require(bool(self.split), "split", self.split, "name a split, e.g. train")
        output = self.output_split
        require(bool(SPLIT_NAME.fullmatch(output)), "output", output, "must be letters, digits, '_' and '-'")
        require(output != self.split, "output", output, "is the split that is filtered; name another")
        for setting in ("min", "max"):
            for name, value in (getattr(self, setting) or {}).items():
                require(name in SCORES, f"{setting}.{name}", value, f"is no score; they are {', '.join(SCORES)}")
        share = self.best_share
        require(share is None or 0 < share <= 1, "best_share", share, "must lie in (0, 1], or be null")
        require(self.rank_by in SCORES, "rank_by", self.rank_by, one_of(SCORES))
        asked = bool(self.min or self.max or self.best_share or self.duplicates)
        require(asked, "best_share", None, "nothing to filter by; give min, max, best_share or duplicates=true")

    @property
    def output_split(self) -> str:
        """The name of the split that is written."""
        return self.output or f"{self.split}_filtered"
