"""Which files of a model are wanted, and what to do when the hub does not provide them."""

from collections.abc import Iterator
from pathlib import Path

from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from dataset_diffusion.errors import InputError, first_line
from dataset_diffusion.settings.generate import ModelSettings

HALF_VARIANT = "fp16"
"""What hub repositories call half-precision files: half the bytes to download and to read."""


def wanted_variants(model: ModelSettings) -> tuple[str | None, ...]:
    """The weight variants to ask the hub for, best first; None stands for the plain files."""
    if model.variant is not None:
        return (model.variant,)
    return (HALF_VARIANT, None) if model.dtype == "float16" else (None,)


def choose_variant(model: ModelSettings, folder: Path) -> str | None:
    """The best wanted variant that a pipeline's folder has. Parts that lack it are read from their plain files.

    Raises InputError if the settings name a variant that the folder does not have.
    """
    for variant in wanted_variants(model):
        if variant is None or any(folder.glob(f"*/*.{variant}[.-]*")):
            return variant
    raise InputError(f"model.variant={model.variant}: {model.path} has no files of that variant; use null")


UNKNOWN = "neither a folder nor a model on the hub"


def explain_hub_error(path: str, error: BaseException, otherwise: str = UNKNOWN) -> str:
    """One line on why a hub model could not be obtained: with the remedy, or `otherwise` and the error's first line."""
    for cause in _causes(error):
        if isinstance(cause, GatedRepoError):
            return f"asks for your consent: accept its licence at https://huggingface.co/{path}, then run hf auth login"
        if isinstance(cause, RepositoryNotFoundError):
            return f"{UNKNOWN} that you can access: correct the name, or, for a private one, run hf auth login"
        if isinstance(cause, LocalEntryNotFoundError):
            return (
                f"{UNKNOWN} that was downloaded before, and the hub cannot be reached: correct the name, or run "
                f"hf download {path} where there is a network connection"
            )
    return f"{otherwise}: {first_line(error)}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, followed by those that it was raised from or while handling."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
