"""A causal model with random weights, run through the real generate() and a real chat template."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts import llm
from dataset_diffusion.prompts.classes import ClassFinder
from dataset_diffusion.prompts.entries import Entry
from dataset_diffusion.prompts.language_model import TEMPERATURE, SeededSampling, load_language_model
from dataset_diffusion.prompts.plan import Plan, plan_prompts
from dataset_diffusion.settings.generate import LanguageModelSettings, PromptSettings
from dataset_diffusion.vocabulary import Vocabulary, VocabularyClass
from tests.tiny_language_model import build_tiny_language_model

VOCABULARY = Vocabulary("own", tuple(VocabularyClass(word, word) for word in ("dog", "cat")))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_language_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def settings(model: Path, tmp_path: Path) -> LanguageModelSettings:
    return LanguageModelSettings(
        path=str(model), dtype="float32", device="cpu", batch_size=4, cache_dir=str(tmp_path / "cache")
    )


def plan(settings: LanguageModelSettings, num_images: int, seed: int = 0) -> Plan:
    prompts = PromptSettings(source="llm", classes_per_image=[1.0], writer=settings)
    return plan_prompts(prompts, VOCABULARY, num_images, seed, progress=False)


def test_seeded_sampling_follows_the_softmax() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -float("inf")])
    num_samples = 6000
    scores = SeededSampling(range(num_samples))(torch.zeros(num_samples, 1), logits.expand(num_samples, -1))
    counts = Counter(scores.argmax(-1).tolist())
    for token, probability in enumerate((logits / TEMPERATURE).softmax(-1).tolist()):
        assert counts[token] / num_samples == pytest.approx(probability, abs=0.02)


def test_an_answer_depends_only_on_its_question_and_seed(settings: LanguageModelSettings) -> None:
    answer = load_language_model(settings)
    questions, seeds = ["a dog", "the old cat on the street", "a dog", "by"], [1, 2, 3, 1]
    together = answer(questions, seeds)
    assert [answer([question], [seed])[0] for question, seed in zip(questions, seeds, strict=True)] == together
    assert len(set(together)) == 4
    assert answer(questions, seeds) == together
    assert not any("<" in text for text in together)


def test_captions_are_checked_and_bad_ones_replaced_by_templates(settings: LanguageModelSettings) -> None:
    made = plan(settings, 24)
    finder = ClassFinder(VOCABULARY)
    for prompt in made.prompts:
        assert finder.find(prompt.caption) == prompt.class_ids
        assert prompt.source in {"template", f"caption by {Path(settings.path).name}"}
    captions = [prompt.caption.lower() for prompt in made.prompts if prompt.source != "template"]
    assert len(set(captions)) == len(captions)
    counts = [int(word) for word in made.written.replace(",", "").replace(":", "").split() if word.isdigit()]
    first, again, failed = counts[-3:]
    assert first + again == len(captions) > 0
    assert failed == made.num_templates == 24 - len(captions)
    assert again > 0
    assert failed > 0


def test_fewer_captions_are_a_prefix_and_seeds_differ(settings: LanguageModelSettings, tmp_path: Path) -> None:
    whole = plan(settings, 11).prompts
    for number, other in ((6, replace(settings, cache_dir=str(tmp_path / "a"))), (11, settings)):
        assert plan(other, number).prompts == whole[:number]
    assert [prompt.caption for prompt in plan(settings, 11, seed=1).prompts] != [prompt.caption for prompt in whole]


def test_finished_captions_need_no_model(tmp_path: Path, settings: LanguageModelSettings) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(settings.path, copy)
    chosen = replace(settings, path=str(copy))
    made = plan(chosen, 9)
    # A killed run leaves half a line; only its caption is written again.
    (cache,) = (tmp_path / "cache").iterdir()
    lines = cache.read_bytes().splitlines(keepends=True)
    cache.write_bytes(b"".join(lines[:-2]) + lines[-2][:20])
    assert plan(chosen, 9) == made
    shutil.rmtree(copy)
    assert plan(chosen, 9) == made
    with pytest.raises(InputError, match=r"prompts\.writer\.path=.*copy: cannot be loaded"):
        plan(chosen, 12)


def test_a_caption_that_does_not_fit_is_replaced_by_a_template(settings: LanguageModelSettings) -> None:
    prompts = PromptSettings(source="llm", writer=settings)
    made = plan_prompts(prompts, VOCABULARY, 4, 0, fits=lambda *_: False, progress=False)
    assert made.num_templates == 4


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path, settings: LanguageModelSettings) -> None:
    path = build_tiny_language_model(tmp_path / "base", chat_template=None)
    with pytest.raises(InputError, match=r"prompts\.writer\.path=.*base: has no chat template; name a model that is"):
        plan(replace(settings, path=str(path)), 2)
    with pytest.raises(InputError, match="num_images=null: prompts=llm never ends"):
        plan_prompts(PromptSettings(source="llm"), VOCABULARY, None, 0)


def test_an_extra_class_is_a_fault_except_in_the_last_attempt(settings: LanguageModelSettings) -> None:
    writer = llm.LanguageModelWriter(settings, VOCABULARY, 0, lambda *_: True)
    list(writer.write([]))
    assert writer._class_fault("a dog chases a cat", (1,), last=False) == "it named another object, 'cat'"
    assert writer._class_fault("a dog chases a cat", (1,), last=True) is None
    assert writer._class_fault("a puppy sleeps", (1,), last=True) == "it did not say 'dog'"


def test_choosing_a_batch_does_not_iterate_over_earlier_captions() -> None:
    class Taken:
        """Can be asked about a caption, but not iterated over or copied."""

        def __contains__(self, caption: object) -> bool:
            return caption == "a dog"

    answers = [llm.Answers(["A dog", "a cat"]), llm.Answers(["a CAT", "a bird"]), llm.Answers(["a bird"])]
    assert llm._choose(answers, Taken()) == ["a cat", "a bird", None]


def test_a_questions_place_and_details_name_no_class(settings: LanguageModelSettings) -> None:
    entries = (VocabularyClass("dog", "dog", scenes=("indoors", "bedroom", "kitchen")), VocabularyClass("kite", "kite"))
    others = ("phone", "child", "beach", "room", "kitchen")
    vocabulary = Vocabulary("own", (*entries, *(VocabularyClass(word, word) for word in others)))
    writer = llm.LanguageModelWriter(settings, vocabulary, 0, lambda *_: True)
    list(writer.write([]))
    before, after = llm.INSTRUCTION.split("{place}")[0].split("Place: ")[0], "Examples:"
    for number in range(200):
        for class_id in (1, 2):
            question = writer._question(Entry(f"{number:06d}", None, (class_id,), "x"), "")
            drawn = question[len(before.format(classes=entries[class_id - 1].word)) :].split(after)[0]
            assert drawn.startswith("Place: ")
            assert writer._finder.find(drawn) == (), drawn
            # An object that can be anywhere indoors is not placed in a particular room, which might not suit it.
            assert class_id == 2 or "bedroom" not in drawn
