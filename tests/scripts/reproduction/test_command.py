"""The script that measures the paper's claims: its quick form, with fewer scenes and steps, and its errors."""

import json
import pickle
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from scripts.reproduction import __main__ as command
from scripts.reproduction import study
from scripts.reproduction.figures import Figures
from scripts.reproduction.findings import findings
from scripts.reproduction.scale import QUICK
from scripts.reproduction.variants import Claim


def run_here(work: Callable, jobs: Sequence, *_: object) -> None:
    """Run the jobs in this process, but pickle them as if for another."""
    for job in jobs:
        sent_work, sent_job = pickle.loads(pickle.dumps((work, job)))
        sent_work(sent_job)


def test_the_main_claims_hold_on_few_images_and_the_results_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = command.reference_settings(command.SHIPPED_MODEL)
    few_steps = replace(settings, sampler=replace(settings.sampler, num_inference_steps=4))
    monkeypatch.setattr(command, "reference_settings", lambda _: few_steps)
    monkeypatch.setattr(command, "QUICK", replace(QUICK, scenes=4, calibration=4))
    monkeypatch.setattr(study, "run_in_processes", run_here)
    arguments = ["--quick", f"--work-dir={tmp_path}/work", f"--results={tmp_path}/results"]
    monkeypatch.setattr(sys, "argv", ["python -m scripts.reproduction", *arguments])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 0
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
    ("arguments", "published"),
    [
        ((), True),
        (("--seeds", "4"), True),
        (("--seeds", "2"), False),
        (("--most-seeds", "3"), False),
        (("--main",), False),
        (("--only", "power"), False),
        (("--model", "other"), False),
    ],
)
def test_only_a_full_run_replaces_the_published_results(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...], published: bool
) -> None:
    monkeypatch.setattr(sys, "argv", ["python -m scripts.reproduction", *arguments])
    folder = command.results_folder(command.parse_arguments(), tmp_path)
    assert folder == (command.ROOT / "docs" / "results" if published else tmp_path / "results")


def test_a_difference_of_one_seed_has_no_interval_in_the_record() -> None:
    claim = Claim("the band helps", "reference", "no band", ("segmentor",))
    (record,) = command.claims_record(findings(Figures(segmentor={"reference": [0.5], "no band": [0.4]}), [claim]))
    assert json.loads(json.dumps(record, allow_nan=False))["metrics"]["segmentor"]["half_width"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "nonsense"), "invalid choice: 'nonsense'"),
        (("--quick", "--only", "power"), "not allowed with argument"),
        (("--jobs", "0"), "0 is not above zero"),
        (("--model", "a, (b)=c"), "a, (b)=c"),
    ],
)
def test_bad_arguments_give_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["python -m scripts.reproduction", *arguments, f"--work-dir={tmp_path}/work"])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert errors[0].startswith("python -m scripts.reproduction: error: ")
    assert message in errors[0]
