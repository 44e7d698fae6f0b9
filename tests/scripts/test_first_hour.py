import os
import subprocess
import sys
from pathlib import Path

import pytest

from dataset_diffusion.cli.run import run_command
from dataset_diffusion.settings.generate import GenerateSettings
from scripts.first_hour import check_tokens, work
from tests.generators.test_stable_diffusion import PROMPTS, VOCABULARY, folder, generator, pipe  # noqa: F401

CHECKOUT = Path(__file__).parents[2]


def test_the_toy_model_passes_all_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"output_dir={tmp_path}/new", "sampler.num_inference_steps=1", "batch_size=2"]
    monkeypatch.setattr(sys, "argv", ["first_hour", *settings])
    run_command("first_hour", "generate", GenerateSettings, work)
    checks = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[")]
    assert len(checks) == 6
    assert all(line.startswith("[ok] ") for line in checks)
    assert (tmp_path / "new" / "contact_sheet.png").is_file()


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.first_hour", f"output_dir={tmp_path}"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    ended = subprocess.run(command, cwd=tmp_path.parent, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, list(tmp_path.iterdir())) == (2, [])
    assert ended.stderr == f"first_hour: error: output_dir={tmp_path}: exists; name a new folder\n"


def test_a_class_at_the_wrong_position_is_found(generator, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    assert check_tokens(generator, VOCABULARY, PROMPTS).passed
    monkeypatch.setattr(type(generator), "class_spans", lambda *_: ((1,), (1,)))
    check = check_tokens(generator, VOCABULARY, PROMPTS[:1])
    assert (check.passed, check.found) == (False, "wrong: prompt 0")
