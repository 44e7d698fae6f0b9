"""What importing the package does and must not do."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]

IMPORT_ALL = """
import contextlib, importlib, io, json, logging, pkgutil, sys, warnings

# First, so that what these do to the interpreter themselves is not taken for the package's doing.
with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import accelerate, diffusers, hydra, mmcv, mmengine.runner, mmseg.models, torch, transformers

def state():
    loggers = ["", "diffusers", "transformers", "huggingface_hub", "mmengine", "py.warnings"]
    return {
        "warnings": [str(entry) for entry in warnings.filters],
        "logging": {name: logging.getLogger(name).level for name in loggers},
        "handlers": len(logging.getLogger().handlers),
        "disabled": logging.root.manager.disable,
        "threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "streams": [sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__],
        "grad": torch.is_grad_enabled(),
        "dtype": str(torch.get_default_dtype()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }

before = state()
import dataset_diffusion
for module in pkgutil.walk_packages(dataset_diffusion.__path__, "dataset_diffusion."):
    importlib.import_module(module.name)
print(json.dumps({"before": before, "after": state()}))
"""


@pytest.fixture(scope="module")
def imported() -> dict:
    """The state of a fresh interpreter before and after importing all modules of the package."""
    ended = subprocess.run([sys.executable, "-c", IMPORT_ALL], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return json.loads(ended.stdout.splitlines()[-1]) | {"printed": ended.stdout.splitlines()[:-1]}


def test_importing_the_package_changes_no_global_state(imported: dict) -> None:
    assert imported["after"] == imported["before"]
    assert imported["printed"] == []


def test_the_package_does_not_import_the_studys_libraries() -> None:
    # Reads the sources, not the loaded modules, because third parties import some of these if they are installed.
    for path in (CHECKOUT / "dataset_diffusion").rglob("*.py"):
        statements = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        names = {name for node in statements for name in _imported(node)}
        assert not names & {"matplotlib", "scripts", "tests", "pytest"}, path


def _imported(node: ast.Import | ast.ImportFrom) -> set[str]:
    modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return {module.partition(".")[0] for module in modules}
