"""Fifth step of planning: give each sample its seed."""

from collections.abc import Iterable, Sequence

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.entries import Entry
from dataset_diffusion.prompts.seeds import sample_seed
from dataset_diffusion.types import Prompt


def number_prompts(entries: Iterable[Entry], seed: int, where: str) -> tuple[Prompt, ...]:
    """The prompts of complete entries. Raises InputError, beginning with `where`, if two have the same sample id."""
    prompts = tuple(
        Prompt(
            entry.sample_id,
            entry.caption or "",
            entry.class_ids or (),
            sample_seed(seed, entry.sample_id) if entry.seed is None else entry.seed,
            entry.source,
            entry.mentions,
        )
        for entry in entries
    )
    # Ids that differ only in case are the same file on some systems.
    if len({prompt.sample_id.lower() for prompt in prompts}) < len(prompts):
        raise _twice(prompts, where)
    return prompts


def _twice(prompts: Sequence[Prompt], where: str) -> InputError:
    seen: dict[str, Prompt] = {}
    for prompt in prompts:
        other = seen.setdefault(prompt.sample_id.lower(), prompt)
        if other is not prompt:
            return InputError(
                f"{where}: two images have the sample id {prompt.sample_id!r} ({other.source}; {prompt.source}); "
                "rename one"
            )
    raise AssertionError("no id comes twice")
