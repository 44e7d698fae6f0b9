"""Where the files that come with the package are, both in a checkout and in an installed wheel."""

from pathlib import Path

PACKAGE_DIR = Path(__file__).resolve().parent


def configs_dir() -> Path:
    """The folder of the Hydra configs: inside the package when installed, next to it in a checkout."""
    installed = PACKAGE_DIR / "configs"
    return installed if installed.is_dir() else PACKAGE_DIR.parent / "configs"


def toy_model_dir() -> Path:
    """The small Stable Diffusion that comes with the package (a diffusers pipeline folder)."""
    return PACKAGE_DIR / "toy" / "model"
