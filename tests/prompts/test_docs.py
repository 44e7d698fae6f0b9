"""docs/prompts.md quotes the code's texts."""

from pathlib import Path

import pytest

from dataset_diffusion.prompts.llm import INSTRUCTION
from dataset_diffusion.prompts.plan import plan_prompts
from dataset_diffusion.settings.generate import PromptSettings
from dataset_diffusion.vocabulary import SCENES, load_vocabulary

PAGE = (Path(__file__).parents[2] / "docs" / "prompts.md").read_text(encoding="utf-8")


def test_the_instruction_and_scenes_match_the_code() -> None:
    assert f"```text\n{INSTRUCTION}\n```" in PAGE
    assert all(f"`{scene}`" in PAGE for scene in SCENES)


@pytest.mark.parametrize("name", ["voc", "coco"])
def test_the_captions_match_seed_0(name: str) -> None:
    settings = PromptSettings(classes_per_image=[0.4, 0.3, 0.15, 0.1, 0.05])
    prompts = plan_prompts(settings, load_vocabulary(name), 30, seed=0).prompts
    assert f"```text\n{chr(10).join(prompt.caption for prompt in prompts)}\n```" in PAGE
