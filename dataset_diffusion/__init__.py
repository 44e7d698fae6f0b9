"""Dataset Diffusion: images with semantic masks from class names, and a segmentor trained on them."""

__version__ = "0.1.0"
