"""Versions of libraries, for the records that are written alongside results."""

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from dataset_diffusion import __version__


def installed_versions(libraries: Sequence[str]) -> dict[str, str]:
    """The version of this package, of Python and of each library, by its name on PyPI."""
    versions = {"dataset-diffusion": __version__, "python": platform.python_version()}
    return versions | {library: _version(library) for library in libraries}


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"
