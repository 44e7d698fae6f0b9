"""Class prompts that go through a transformer's blocks beside the text that the image is made from.

The idea is ConceptAttention's (arXiv 2502.04320).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn


class ClassStream:
    """Encoded class prompts on their way through the blocks of a transformer with joint attention.

    After a block has run for the image, it runs once more on the same image positions, with the class prompts in the
    text's place. What it makes of the class prompts is what the next block is given; what it makes of the image is
    dropped. So class prompts see the image and themselves, and no image sees a class prompt.

    Blocks must be given `hidden_states` (the image) and `encoder_hidden_states` (the text) by name, and return the text
    first, as those of Stable Diffusion 3 and Flux. Of a batch with classifier-free guidance the last half counts.
    """

    def __init__(self, states: Tensor, embed: Callable[[Tensor], Tensor], blocks: Sequence[str]) -> None:
        """`states` [B, T, C] are what the text encoders make of the class prompts, `embed` what the first block gets.

        `blocks` are the dotted names of the blocks, from the first one on, in the order in which they run.
        """
        self.blocks = tuple(blocks)
        self._encoded = states
        self._embed = embed
        self._states = states

    def run(self, name: str, block: nn.Module, inputs: Mapping[str, Any]) -> None:
        """Run the block `name`, which was called with `inputs` for the image, on the class prompts."""
        states = self._embed(self._encoded) if name == self.blocks[0] else self._states
        rows = slice(len(inputs["hidden_states"]) - len(states), None)
        rest = {key: value[rows] if isinstance(value, Tensor) else value for key, value in inputs.items()}
        # Not block(...): hooks on it are for the image.
        self._states, _ = block.forward(**rest | {"encoder_hidden_states": states})
