"""Mask2Former's matching and losses on labelled pixels only.

transformers' versions have no ignored pixels: each pixel is inside a mask or outside. Both sample masks at random
points, so here a map of the valid pixels is sampled at the same points. Only points whose surroundings are all valid
count, and sums are divided by their number; mask values at ignored pixels do not change a single bit of the loss.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerHungarianMatcher,
    Mask2FormerLoss,
    pair_wise_dice_loss,
    pair_wise_sigmoid_cross_entropy_loss,
    sample_point,
)

Matches = list[tuple[Tensor, Tensor]]


class ValidPixelsMatcher(Mask2FormerHungarianMatcher):
    """Assigns queries to masks by comparing both at valid points."""

    valid: Tensor
    """[B, 1, H, W] float: 1 valid, 0 ignored."""

    @torch.no_grad()
    def forward(
        self,
        masks_queries_logits: Tensor,
        class_queries_logits: Tensor,
        mask_labels: list[Tensor],
        class_labels: list[Tensor],
    ) -> Matches:
        """For each image, the indices of queries and of the masks that they are matched with."""
        matches = []
        for image, (masks, classes) in enumerate(zip(mask_labels, class_labels, strict=True)):
            points = torch.rand(1, self.num_points, 2, device=masks_queries_logits.device)
            counted = is_valid(self.valid[image : image + 1], points)[0]
            queries = sample_point(masks_queries_logits[image][None], points, align_corners=False)[0][:, counted]
            targets = sample_point(masks[None].to(queries), points, align_corners=False)[0][:, counted]
            cost = -self.cost_class * class_queries_logits[image].softmax(-1)[:, classes]
            if counted.any():
                cost = cost + self.cost_mask * pair_wise_sigmoid_cross_entropy_loss(queries, targets)
                cost = cost + self.cost_dice * pair_wise_dice_loss(queries, targets)
            # The loss reveals a diverged network; the assignment must not fail before that.
            rows, columns = linear_sum_assignment(torch.nan_to_num(cost, nan=1e9, posinf=1e9, neginf=-1e9).cpu())
            matches.append((torch.as_tensor(rows), torch.as_tensor(columns)))
        return matches


class ValidPixelsLoss(Mask2FormerLoss):
    """The class and mask losses, the latter on valid points."""

    def __init__(self, config: object, weight_dict: dict[str, float]) -> None:
        super().__init__(config, weight_dict)
        theirs: Mask2FormerHungarianMatcher = self.matcher
        self.matcher: ValidPixelsMatcher = ValidPixelsMatcher(
            theirs.cost_class, theirs.cost_mask, theirs.cost_dice, theirs.num_points
        )

    @contextmanager
    def ignoring(self, ignored: Tensor) -> Iterator[None]:
        """Leave out the pixels of `ignored` [B, H, W] bool."""
        self.matcher.valid = (~ignored).float()[:, None]
        try:
            yield
        finally:
            del self.matcher.valid

    def loss_masks(
        self, masks_queries_logits: Tensor, mask_labels: list[Tensor], indices: Matches, num_masks: int
    ) -> dict[str, Tensor]:
        """Cross-entropy and dice of the matched masks, at points where the network is unsure and at random ones."""
        images, queries = self._get_predictions_permutation_indices(indices)
        predicted = masks_queries_logits[images, queries][:, None]
        targets = torch.cat([masks[chosen] for masks, (_, chosen) in zip(mask_labels, indices, strict=True)])[:, None]
        if not len(predicted):  # no pixel of the batch is labelled
            nothing = masks_queries_logits.sum() * 0
            return {"loss_mask": nothing, "loss_dice": nothing}
        with torch.no_grad():
            points = self.sample_points_using_uncertainty(
                predicted,
                self.calculate_uncertainty,
                self.num_points,
                self.oversample_ratio,
                self.importance_sample_ratio,
            )
            truth = sample_point(targets.to(predicted), points, align_corners=False)[:, 0]
            counted = is_valid(self.matcher.valid[images.to(points.device)], points)
            # At an ignored pixel, a mask can hold anything.
            truth = truth.where(counted, 0)
        logits = sample_point(predicted, points, align_corners=False)[:, 0]
        count = counted.sum(dim=1).clamp(min=1)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").where(counted, 0)
        probabilities = logits.sigmoid().where(counted, 0)
        overlap = 2 * (probabilities * truth).sum(dim=1)
        dice = 1 - (overlap + 1) / (probabilities.sum(dim=1) + truth.sum(dim=1) + 1)
        return {
            "loss_mask": (cross_entropy.sum(dim=1) / count).sum() / num_masks,
            "loss_dice": dice.sum() / num_masks,
        }


def is_valid(valid: Tensor, points: Tensor) -> Tensor:
    """Whether each of the points [R, P, 2], in [0, 1], has only valid pixels around it in `valid` [R, 1, H, W]."""
    # The invalid pixels are sampled: a sum of zeros is 0 whatever the weights, but a sum of ones can round.
    return sample_point(1 - valid, points, align_corners=False, padding_mode="zeros")[:, 0] == 0
