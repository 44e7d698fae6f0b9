"""Dataset Diffusion: images with semantic masks from class names, and a segmentor trained on them."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["record_attention"]


def __getattr__(name: str) -> Any:
    """Import on first use: torch and diffusers take seconds."""
    if name == "record_attention":
        from dataset_diffusion.generators.record import record_attention

        return record_attention
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
