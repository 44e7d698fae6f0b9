"""The wheel, the source distribution, the installed commands and the declared dependencies."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dataset_diffusion"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [Requirement(text) for text in PROJECT["dependencies"]]
HEAVY_MODULES = {"torch", "diffusers", "transformers", "mmseg", "mmengine", "mmcv", "cv2", "matplotlib"}


def build(target: str, source: Path, destination: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(destination)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = destination.iterdir()
    return built


def files_below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build("wheel", ROOT, tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def site(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel, like site-packages."""
    folder = tmp_path_factory.mktemp("site")
    wheel.extractall(folder)
    return folder


def run_python(code: str, *arguments: str, cwd: Path, path: Path = ROOT) -> str:
    """The output of `code` if `path` comes first in the import path."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(path)!r}); {code}", *arguments]
    finished = subprocess.run(command, cwd=cwd, text=True, capture_output=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_wheel_holds_the_package_its_model_and_the_configs(wheel: zipfile.ZipFile) -> None:
    package = {path.relative_to(ROOT).as_posix() for path in files_below(PACKAGE)}
    configs = {f"dataset_diffusion/{path.relative_to(ROOT).as_posix()}" for path in files_below(ROOT / "configs")}
    built = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert built == package | configs
    assert "dataset_diffusion/toy/model/model_index.json" in built
    assert {name.rpartition("/")[2] for name in wheel.namelist() if ".dist-info/licenses/" in name} == {"LICENSE"}


def test_wheel_contains_no_local_paths(wheel: zipfile.ZipFile) -> None:
    path_of_a_machine = re.compile(rb"(?<![\w./-])/(?:home|root|Users|work|mnt|opt|tmp)/\w[\w./-]*")
    contents = {name: wheel.read(name) for name in wheel.namelist() if not name.endswith(".safetensors")}
    found = {name: path_of_a_machine.findall(content) for name, content in contents.items()}
    assert {name: paths for name, paths in found.items() if paths} == {}
    assert [name for name, content in contents.items() if b"%s/" % str(ROOT).encode() in content] == []


def test_wheel_from_the_source_distribution_is_the_same(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", ROOT, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    rebuilt = zipfile.ZipFile(build("wheel", source, tmp_path / "wheel"))
    assert {entry.filename: entry.CRC for entry in rebuilt.infolist()} == {
        entry.filename: entry.CRC for entry in wheel.infolist()
    }


def test_installed_package_finds_its_configs_and_model(site: Path, tmp_path: Path) -> None:
    code = "from dataset_diffusion import paths; print(paths.configs_dir()); print(paths.toy_model_dir())"
    assert run_python(code, cwd=tmp_path, path=site).splitlines() == [
        str(site / "dataset_diffusion/configs"),
        str(site / "dataset_diffusion/toy/model"),
    ]


@pytest.mark.parametrize("command", sorted(PROJECT["scripts"]))
def test_installed_command_composes_its_settings(command: str, site: Path, tmp_path: Path) -> None:
    module = PROJECT["scripts"][command].partition(":")[0]
    folder = ["."] if command == "dd-calibrate" else []
    assert run_python(f"from {module} import main; main()", *folder, "--cfg", "job", cwd=tmp_path, path=site)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", sorted(PROJECT["scripts"]))
def test_help_is_printed_without_the_heavy_imports(command: str, tmp_path: Path) -> None:
    module, _, function = PROJECT["scripts"][command].partition(":")
    code = (
        f"import atexit; atexit.register(lambda: print('HEAVY', sorted({HEAVY_MODULES!r} & sys.modules.keys())));"
        f"from {module} import {function} as main; main()"
    )
    *help_lines, last_line = run_python(code, "--help", cwd=tmp_path).splitlines()
    assert command in help_lines[0]
    assert last_line == "HEAVY []"


def test_all_imports_are_declared() -> None:
    distributions = importlib.metadata.packages_distributions()
    extras = [Requirement(text) for text in PROJECT["optional-dependencies"]["huggingface"]]
    declared = {canonicalize_name(requirement.name) for requirement in REQUIREMENTS + extras}
    # mmsegmentation's extra [mminstall] provides these two.
    declared |= {"onedl-mmcv", "onedl-mmengine"}
    undeclared = {
        module
        for module in imported_modules()
        if module not in sys.stdlib_module_names
        and module != "dataset_diffusion"
        and declared.isdisjoint(canonicalize_name(name) for name in distributions.get(module, []))
    }
    assert undeclared == set()


def imported_modules() -> set[str]:
    """Top-level names of all modules that the package imports, anywhere in a file."""
    modules = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                modules.add(node.module.partition(".")[0])
    return modules


def test_constraints_pin_every_dependency_to_an_allowed_version() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [re.fullmatch(r"([\w.-]+)==(\d[\w.]*)", line) for line in lines if not line.startswith("#")]
    assert all(pins), "a line is not a plain name==version"
    pinned = {canonicalize_name(pin[1]): pin[2] for pin in pins if pin}
    extras = [Requirement(text) for texts in PROJECT["optional-dependencies"].values() for text in texts]
    requirements = [text for text in REQUIREMENTS + extras if text.name != PROJECT["name"]]
    refused = [text for text in requirements if not text.specifier.contains(pinned[canonicalize_name(text.name)])]
    assert refused == []
