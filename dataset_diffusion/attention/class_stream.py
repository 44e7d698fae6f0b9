"""Class prompts that go through a transformer's blocks alongside the text that the image is made from.

The idea comes from ConceptAttention (arXiv 2502.04320).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn


class ClassStream:
    """Encoded class prompts on their way through the blocks of a transformer with joint attention.

    After a block has run for the image, it runs again on the same image positions, with the class prompts in place of
    the text. Its output for the class prompts goes to the next block; its output for the image is dropped. So class
    prompts see the image and themselves, and the image never sees a class prompt.

    Blocks must be called with `hidden_states` (the image) and `encoder_hidden_states` (the text) by name, and return
    the text first, as in Stable Diffusion 3 and Flux. With classifier-free guidance, the last half of the batch counts.
    """

    def __init__(self, states: Tensor, embed: Callable[[Tensor], Tensor], blocks: Sequence[str]) -> None:
        """`states` [B, T, C] are the encoded class prompts; `embed` turns them into the input of the first block.

        `blocks` are the dotted names of the blocks, starting with the first, in the order in which they run.
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
        # Not block(...): its hooks are for the image.
        self._states, _ = block.forward(**rest | {"encoder_hidden_states": states})
