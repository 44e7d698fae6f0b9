"""The script that measures the paper's claims, in its quick form, as continuous integration runs it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from scripts.reproduction.__main__ import main

ROOT = Path(__file__).parents[3]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "scripts.reproduction",
            *arguments,
            f"--work-dir={folder}/work",
            f"--results={folder}/results",
        ],
        capture_output=True,
        text=True,
        timeout=580,
        cwd=ROOT,
    )


def test_the_main_claims_hold_on_few_images_and_the_results_are_written(tmp_path: Path) -> None:
    done = run(tmp_path, "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "results" / "reproduction.json").read_text())
    differences = {claim["worse"]: claim["metrics"]["masks"]["difference"] for claim in record["claims"]}
    assert differences["power 0"] > 0
    assert differences["no band"] > 0
    assert len(record["class_word_gain"]) == 3
    assert sum(record["class_word_gain"]) > 0
    assert len(record["masks"]["reference"]) == 3
    page = (tmp_path / "results" / "reproduction.md").read_text()
    assert re.search(r"\| power 0 \| \d", page)
    small, *_, large = record["power_by_size"]
    assert small["largest"] < large["smallest"]
    assert small["fine"][0]["mean"] < large["fine"][0]["mean"]
    assert page.count("| stays, 16 x 16 |") == 4
    for name in ("claims.png", "experiments.png", "power.png"):
        with Image.open(tmp_path / "results" / name) as picture:
            assert picture.width > 500


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "nonsense"), "invalid choice: 'nonsense'"),
        (("--quick", "--only", "power"), "not allowed with argument"),
        (("--jobs", "0"), "0 is not above zero"),
        (("--model", "a, (b)=c"), "a, (b)=c"),
    ],
)
def test_bad_arguments_are_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["python -m scripts.reproduction", *arguments, f"--work-dir={tmp_path}/work"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert errors[0].startswith("python -m scripts.reproduction: error: ")
    assert message in errors[0]
