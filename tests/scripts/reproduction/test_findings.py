"""Verdicts on claims, and claims that need more seeds."""

from dataclasses import replace

import pytest

from scripts.reproduction.figures import Figures
from scripts.reproduction.findings import difference, findings, needs_more_seeds
from scripts.reproduction.masks import MaskFigures
from scripts.reproduction.statistics import paired_difference
from scripts.reproduction.variants import Claim

BAND = Claim("the band helps", "reference", "no band", ("segmentor",))
POWER = Claim("self-attention helps", "reference", "power 0")


def groups(*mious: float) -> list[MaskFigures]:
    return [MaskFigures(miou, miou, miou, 0.0) for miou in mious]


def test_one_clear_metric_decides_and_two_that_disagree_do_not() -> None:
    clear = {"reference": groups(0.6, 0.61, 0.62), "power 0": groups(0.5, 0.51, 0.52)}
    reverse = {"reference": clear["power 0"], "power 0": clear["reference"]}
    same = {"reference": groups(0.6, 0.5, 0.7), "power 0": groups(0.5, 0.6, 0.7)}
    verdicts = [
        findings(Figures(masks=masks, judged=judged), [POWER])[0].verdict
        for masks, judged in ((clear, same), (same, reverse), (clear, reverse), (same, same))
    ]
    assert verdicts == ["supported", "contradicted", "inconclusive", "inconclusive"]


@pytest.mark.parametrize(
    ("worse", "needs"),
    [
        ([0.1, 0.1, 0.1, 0.1], False),  # clear at once
        ([0.29, 0.32, 0.31, 0.36], True),  # not clear
        ([0.26, 0.31, 0.29, 0.32], True),  # clear at 95%, but not at the 99.9% that stops early
        ([0.301, 0.309, 0.321, 0.329], False),  # no difference, but the interval is narrow
    ],
)
def test_seeds_are_added_until_a_claim_is_clear_or_its_interval_narrow(worse: list[float], needs: bool) -> None:
    figures = Figures(segmentor={"reference": [0.3, 0.31, 0.32, 0.33], "no band": worse})
    assert needs_more_seeds(figures, BAND, "segmentor") is needs


def test_no_seeds_are_added_if_masks_have_decided_or_nothing_was_trained() -> None:
    segmentor = {"reference": [0.3, 0.31, 0.32], "power 0": [0.29, 0.32, 0.33]}
    clear = {"reference": groups(0.6, 0.61, 0.62), "power 0": groups(0.5, 0.51, 0.52)}
    assert needs_more_seeds(Figures(segmentor=segmentor), POWER, "segmentor")
    assert not needs_more_seeds(Figures(segmentor=segmentor, judged=clear), POWER, "segmentor")
    assert not needs_more_seeds(Figures(masks=clear), BAND, "segmentor")


def test_the_judge_needs_more_seeds_whatever_the_masks_say_but_not_for_claims_without_it() -> None:
    masks = {"reference": groups(0.6, 0.61, 0.62), "power 0": groups(0.5, 0.51, 0.52)}
    judged = {"reference": groups(0.3, 0.31, 0.32, 0.33), "power 0": groups(0.29, 0.32, 0.31, 0.36)}
    judged["no band"] = judged["power 0"]
    assert needs_more_seeds(Figures(masks=masks, judged=judged), POWER, "judged")
    assert not needs_more_seeds(Figures(judged=judged), BAND, "judged")


def test_the_judge_needs_more_seeds_by_the_figure_that_a_claim_compares() -> None:
    accuracy = Claim("the band helps", "reference", "no band", ("judged",), "kept_accuracy")
    shares = (0.82, 0.84, 0.86, 0.83, 0.85)
    first = [
        MaskFigures(miou, 0.5, share, 0.1) for miou, share in zip((0.6, 0.4, 0.5, 0.45, 0.55), shares, strict=True)
    ]
    second = [MaskFigures(miou, 0.5, 0.2, 0.1) for miou in (0.55, 0.45, 0.5, 0.4, 0.6)]
    figures = Figures(judged={"reference": first, "no band": second})
    assert not needs_more_seeds(figures, accuracy, "judged")
    assert needs_more_seeds(figures, replace(accuracy, figure="miou"), "judged")


def test_two_tests_of_one_training_have_their_own_variance() -> None:
    segmentor = {
        "reference": [0.30, 0.33, 0.36],
        "TTA": [0.31, 0.341, 0.372],
        "no band": [0.35, 0.29, 0.33],
        "self-training": [0.33, 0.30, 0.37],
    }
    figures = Figures(segmentor=segmentor)
    alone = difference(figures, "TTA", "reference", "segmentor")
    assert alone == paired_difference([31.0, 34.1, 37.2], [30.0, 33.0, 36.0])
    shared = difference(figures, "no band", "reference", "segmentor")
    assert alone is not None
    assert shared is not None
    assert alone.half_width < 0.3 < shared.half_width
    # They do not make the other rows' variance too small either.
    del segmentor["TTA"]
    assert difference(Figures(segmentor=segmentor), "no band", "reference", "segmentor") == shared
