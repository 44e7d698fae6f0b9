"""The settings of `dd-filter`, checked when they are created.

`--help` shows the docstring below each field.
"""

from dataclasses import dataclass

from dataset_diffusion.settings.checks import one_of, require
from dataset_diffusion.settings.generate import SPLIT_NAME

SCORES = ("confidence", "margin", "edges", "ignored", "components", "flatness")
"""The scores that samples are judged by. Higher is better for the first three, lower for the others."""
HIGH_IS_GOOD = SCORES[:3]


@dataclass(frozen=True)
class FilterSettings:
    """All settings of a `dd-filter` run."""

    folder: str
    """a finished folder of dd-generate; its images and masks are not touched"""
    split: str = "train"
    """the split to choose from"""
    output: str | None = None
    """name of the new split; must not be one that the folder was made with; null: <split>_filtered"""
    min: dict[str, float] | None = None
    """leave out samples that score lower, e.g. '{confidence: 0.7, margin: 0.2}'; the scores are confidence, margin,
    edges (higher is better), ignored, components, flatness (lower is better)"""
    max: dict[str, float] | None = None
    """leave out samples that score higher, e.g. '{ignored: 0.3, flatness: 0.8, components: 20}'"""
    best_share: float | None = None
    """keep this share of each class's samples, the best by rank_by; a sample that is among the best of any of its
    classes stays"""
    rank_by: str = "confidence"
    """the score that best_share uses, and that decides which duplicate to keep; for best_share, confidence is that of
    the class"""
    duplicates: bool = False
    """true: keep only the best of images that look alike"""

    def __post_init__(self) -> None:
        require(bool(self.folder), "folder", self.folder, "name a folder that dd-generate made")
        require(bool(self.split), "split", self.split, "name a split, e.g. train")
        output = self.output_split
        require(bool(SPLIT_NAME.fullmatch(output)), "output", output, "must be letters, digits, '_' and '-'")
        require(output != self.split, "output", output, "is the split that is filtered; name another")
        for setting in ("min", "max"):
            for name, value in (getattr(self, setting) or {}).items():
                require(name in SCORES, f"{setting}.{name}", value, f"is not a score; use {', '.join(SCORES)}")
        share = self.best_share
        require(share is None or 0 < share <= 1, "best_share", share, "must lie in (0, 1], or be null")
        require(self.rank_by in SCORES, "rank_by", self.rank_by, one_of(SCORES))
        asked = bool(self.min or self.max or self.best_share or self.duplicates)
        require(asked, "best_share", None, "nothing to filter by; give min, max, best_share or duplicates=true")

    @property
    def output_split(self) -> str:
        """The name of the split to write."""
        return self.output or f"{self.split}_filtered"
