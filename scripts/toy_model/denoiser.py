"""Train the UNet and the text encoder on the latents of rendered scenes."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dataset_diffusion.hardware import bfloat16_is_fast
from scripts.toy_model.distributed import average_gradients, num_processes, process_rank
from scripts.toy_model.optimizer import MixedOptimizer, WorkingCopy
from scripts.toy_model.recipe import NOISE_SCHEDULE, TEXT_ENCODER_CONFIG, UNET_CONFIG, Recipe, Stage
from scripts.toy_model.scenes import Description
from scripts.toy_model.text import tokenise, training_captions, training_states

NOISE_EXPONENT = 0.6
"""Time steps are 1000 u^0.6 for uniform u: layout and classes are decided at high noise."""
EMA_EVERY = 4
LEAST_RATE = 0.02


@dataclass
class Denoiser:
    """The networks that are trained together, in float32."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer

    @property
    def modules(self) -> list[nn.Module]:
        """UNet and text encoder."""
        return [self.unet, self.text_encoder]


def new_denoiser(tokenizer: CLIPTokenizer, seed: int) -> Denoiser:
    """Networks with random weights."""
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **TEXT_ENCODER_CONFIG,
    )
    return Denoiser(UNet2DConditionModel(**UNET_CONFIG), CLIPTextModel(config), tokenizer)


class DenoiserTraining:
    """Trains a Denoiser stage by stage. After an interruption, the same calls resume from the last saved state."""

    def __init__(self, denoiser: Denoiser, recipe: Recipe, state_path: Path, device: torch.device) -> None:
        self._denoiser, self._recipe, self._state_path, self._device = denoiser, recipe, state_path, device
        for module in denoiser.modules:
            module.to(device)
            module.train()
        self._optimizer = MixedOptimizer(denoiser.modules, recipe)
        horizon = 1 / recipe.ema_share
        # With this exponent the warm-up keeps the average's memory near `ema_share` of the steps so far.
        self._ema = EMAModel(self._optimizer.parameters, decay=0.9999, use_ema_warmup=True, inv_gamma=horizon, power=1)
        dtype = torch.bfloat16 if bfloat16_is_fast(device) else torch.float32
        self._working = WorkingCopy(denoiser.unet, dtype)
        if device.type == "cpu":
            # The backward pass of torch's fused attention is slow on a CPU with small heads.
            self._working.module.set_attn_processor(AttnProcessor())
        self._noise = DDPMScheduler(**NOISE_SCHEDULE)
        self.num_samples = 0
        self.samples_per_step = recipe.batch_size * num_processes()
        if state_path.exists():
            self._load()

    def run(
        self, stage: Stage, start: int, latents: Tensor, descriptions: Sequence[Description], pause: Callable[[], None]
    ) -> None:
        """Train on the samples `start` ... `start + stage.num_samples`, except for those already seen.

        `latents` [scenes, 4, h, w] float16 come with their `descriptions`; `pause` is called after every step and can
        measure or save.
        """
        end = start + stage.num_samples
        weights = scene_weights(descriptions, self._recipe.object_count_shares)
        bar = tqdm(
            total=end,
            initial=self.num_samples,
            desc=f"stage {stage.image_size}",
            unit="sample",
            disable=process_rank() > 0,
        )
        with bar:
            while self.num_samples < end:
                progress = (self.num_samples - start) / stage.num_samples
                loss = self._step(latents, descriptions, weights, self._rate(progress, stage))
                bar.update(self.samples_per_step)
                bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                pause()

    def averaged(self) -> Denoiser:
        """A copy with the averaged weights, ready for use."""
        trained = self._denoiser
        averaged = Denoiser(
            UNet2DConditionModel.from_config(trained.unet.config).to(self._device),
            CLIPTextModel(trained.text_encoder.config).to(self._device),
            trained.tokenizer,
        )
        for module in averaged.modules:
            module.eval()
        self._ema.copy_to([parameter for module in averaged.modules for parameter in module.parameters()])
        return averaged

    def save(self) -> None:
        """Write the state to its file atomically."""
        state = {
            "modules": [module.state_dict() for module in self._denoiser.modules],
            "optimizer": self._optimizer.state_dict(),
            "ema": self._ema.state_dict(),
            "num_samples": self.num_samples,
        }
        unfinished = self._state_path.with_suffix(".unfinished")
        torch.save(state, unfinished)
        unfinished.replace(self._state_path)

    def _load(self) -> None:
        state = torch.load(self._state_path, weights_only=True, map_location=self._device)
        for module, weights in zip(self._denoiser.modules, state["modules"], strict=True):
            module.load_state_dict(weights)
        self._optimizer.load_state_dict(state["optimizer"])
        self._ema.load_state_dict(state["ema"])
        self.num_samples = state["num_samples"]
        self._working.follow_master()

    def _step(self, latents: Tensor, descriptions: Sequence[Description], weights: Tensor, rate: float) -> float:
        # A step's draws depend only on the seed and the step's position, so a resumed run sees what it would have seen.
        rng = random.Random(f"{self._recipe.seed} {self.num_samples} {process_rank()}")
        generator = torch.Generator().manual_seed(rng.getrandbits(63))
        chosen = torch.multinomial(weights, self._recipe.batch_size, replacement=True, generator=generator)
        clean = latents[chosen].float().to(self._device)
        noise = torch.randn(clean.shape, generator=generator).to(self._device)
        times = draw_times(len(chosen), generator).to(self._device)
        noisy = self._noise.add_noise(clean, noise, times)
        velocity = self._noise.get_velocity(clean, noise, times)
        states = self._text_states([descriptions[index] for index in chosen.tolist()], rng)
        dtype = self._working.dtype
        predicted = self._working.module(noisy.to(dtype), times, states.to(dtype)).sample
        loss = (predicted.float() - velocity).square().mean()
        loss.backward()
        self._working.gradients_to_master()
        average_gradients(self._optimizer.parameters)
        self._optimizer.step(rate)
        self._working.follow_master()
        self.num_samples += self.samples_per_step
        if self.num_samples // self.samples_per_step % EMA_EVERY == 0:
            self._ema.step(self._optimizer.parameters)
        return loss.item()

    def _text_states(self, descriptions: Sequence[Description], rng: random.Random) -> Tensor:
        tokenizer = self._denoiser.tokenizer
        token_ids = tokenise(tokenizer, training_captions(descriptions, rng)).to(self._device)
        empty_ids = tokenise(tokenizer, [""]).to(self._device)
        return training_states(self._denoiser.text_encoder, token_ids, empty_ids, rng, tokenizer.eos_token_id)

    def _rate(self, progress: float, stage: Stage) -> float:
        warmup = min(1.0, (self.num_samples / self.samples_per_step + 1) / self._recipe.warmup_steps)
        if progress <= stage.decay_from:
            return warmup
        return warmup * max(LEAST_RATE, (1 - progress) / (1 - stage.decay_from))


def scene_weights(descriptions: Sequence[Description], shares: Sequence[float]) -> Tensor:
    """How often to draw each scene, [scenes], so that `shares[n - 1]` of the samples show n objects."""
    counts = torch.tensor([len(objects) for objects, _ in descriptions])
    return (torch.tensor(shares) / counts.bincount(minlength=len(shares) + 1)[1:].clamp(min=1))[counts - 1]


def draw_times(count: int, generator: torch.Generator) -> Tensor:
    """Time steps [count] int64 in 0 ... 999, more of them at high noise than at low noise."""
    uniform = torch.rand(count, generator=generator)
    return (uniform**NOISE_EXPONENT * NOISE_SCHEDULE["num_train_timesteps"]).long()
