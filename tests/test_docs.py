"""The documents: links lead to files, commands have valid settings, and commands marked `<!-- run -->` run."""

import contextlib
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = {
    "dd-generate": "generate",
    "dd-train": "train",
    "dd-eval": "evaluate",
    "dd-calibrate": "calibrate",
    "dd-export": "export",
    "dd-filter": "filter",
}
SMALL = {
    "dd-generate": ["num_images=4", "sampler.num_inference_steps=1", "batch_size=2"],
    "dd-train": ["iterations=1", "batch_size=2", "crop_size=32"],
}
"""Arguments added to the commands that are run, so that they take seconds; one of the four samples is in val."""


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def shell_lines(page: Path, marked_only: bool = False) -> Iterator[str]:
    """The lines of the page's `sh` blocks, with continued lines joined."""
    for mark, block in re.findall(r"(<!-- run -->\n)?```sh\n(.*?)```", text_of(page), re.DOTALL):
        if mark or not marked_only:
            yield from (line for line in block.replace("\\\n", " ").splitlines() if line.strip())


def commands(page: Path, marked_only: bool = False) -> Iterator[list[str]]:
    """Each dd-... command on the page, split into words."""
    for line in shell_lines(page, marked_only):
        words = shlex.split(line.replace("&& ", "; "), comments=True)
        starts = [position for position, word in enumerate(words) if word in COMMANDS]
        for start in starts:
            ends = [place for place, word in enumerate(words) if place > start and word in {"&", ";", "|", "done"}]
            yield [word.rstrip(";") for word in words[start : min(ends, default=len(words))]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL))
    missing = {link for link in links if "://" not in link and not (page.parent / link).exists()}
    assert missing == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_in_the_commands_exist(
    page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in commands(page):
        if "--config-dir" in command:
            continue
        # --help composes and checks all settings but does no work.
        monkeypatch.setattr(sys, "argv", [*command, "--help"])
        with contextlib.suppress(SystemExit):
            main_of(command[0])()
        assert capsys.readouterr().err == "", shlex.join(command)


RUN_PAGES = [page for page in PAGES if "<!-- run -->" in text_of(page)]


@pytest.mark.parametrize("page", RUN_PAGES, ids=lambda page: page.name)
def test_marked_commands_run(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for command in commands(page, marked_only=True):
        monkeypatch.setattr(sys, "argv", [*command, *SMALL.get(command[0], [])])
        main_of(command[0])()


def main_of(command: str) -> Callable[[], None]:
    return import_module(f"dataset_diffusion.cli.{COMMANDS[command]}").main
