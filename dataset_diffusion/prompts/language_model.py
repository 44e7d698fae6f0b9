"""An instruction-tuned language model from transformers. An answer depends only on its question and its seed."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor

from dataset_diffusion.errors import InputError, first_line
from dataset_diffusion.hardware import find_device
from dataset_diffusion.settings.generate import LanguageModelSettings

MAX_NEW_TOKENS = 80
TEMPERATURE = 0.8
TOP_K = 50
SAMPLING = {"max_new_tokens": MAX_NEW_TOKENS, "temperature": TEMPERATURE, "top_k": TOP_K}

Answer = Callable[[Sequence[str], Sequence[int]], list[str]]
"""Answers to questions, each with its seed."""


class SeededSampling(transformers.LogitsProcessor):
    """Samples each row with its own generator, from the TOP_K most likely tokens at TEMPERATURE.

    The most likely token of logits with Gumbel noise is a sample from their softmax, so that greedy search samples. The
    answer to a question depends neither on the other questions in its batch nor on any global generator.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002
        """Scores [B, vocabulary] of the next token: with noise for the TOP_K, minus infinity elsewhere."""
        top = scores.float().topk(min(TOP_K, scores.shape[-1]), dim=-1)
        uniform = torch.stack([torch.rand(top.values.shape[-1], generator=generator) for generator in self._generators])
        gumbel = -torch.log(-torch.log(uniform.clamp(1e-7, 1 - 1e-7))).to(scores.device)
        noisy = top.values / TEMPERATURE + gumbel
        return torch.full_like(scores, float("-inf"), dtype=torch.float32).scatter(-1, top.indices, noisy)


def load_language_model(settings: LanguageModelSettings) -> Answer:
    """The function that answers a batch of questions.

    Raises InputError if there is no such model or device, or if the model has no chat template.
    """
    device = find_device(settings.device, "prompts.writer.device", kinds=("cuda", "mps", "cpu"))
    where = f"prompts.writer.path={settings.path}"
    source: dict[str, Any] = {"pretrained_model_name_or_path": settings.path, "revision": settings.revision}
    try:
        # Answers are appended to the questions, so all questions of a batch must end at the same position.
        tokenizer = transformers.AutoTokenizer.from_pretrained(**source, padding_side="left")
        if not tokenizer.chat_template:
            raise InputError(f"{where}: has no chat template; name a model that is tuned to follow instructions")
        dtype = getattr(torch, settings.dtype)
        model = transformers.AutoModelForCausalLM.from_pretrained(**source, dtype=dtype).to(device).eval()
    except (OSError, ValueError, RuntimeError, SafetensorError, KeyError) as error:
        raise InputError(f"{where}: cannot be loaded: {first_line(error)}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token

    @torch.inference_mode()
    def answer(questions: Sequence[str], seeds: Sequence[int]) -> list[str]:
        texts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": question}],
                add_generation_prompt=True,
                tokenize=False,
                enable_thinking=False,  # Used by the templates of reasoning models.
            )
            for question in questions
        ]
        inputs = tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt").to(device)
        inputs.pop("token_type_ids", None)
        written = model.generate(
            **inputs,
            do_sample=False,
            num_beams=1,
            max_new_tokens=MAX_NEW_TOKENS,
            logits_processor=transformers.LogitsProcessorList([SeededSampling(seeds)]),
            pad_token_id=tokenizer.pad_token_id,
        )
        return tokenizer.batch_decode(written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    return answer
