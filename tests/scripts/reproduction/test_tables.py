"""Tables of known figures."""

from scripts.reproduction.figures import Figures
from scripts.reproduction.findings import findings
from scripts.reproduction.masks import MaskFigures
from scripts.reproduction.segmentor import file_name
from scripts.reproduction.tables import claims_line, claims_table, experiment_table, new_ideas_table
from scripts.reproduction.variants import CLAIMS, EXPERIMENTS, MAIN_ROWS, REFERENCE, experiment

REFERENCES = dict.fromkeys(table.reference for table in EXPERIMENTS)
PROMPT = experiment("prompt")
VARIANTS = [*REFERENCES, *(variant for table in EXPERIMENTS for variant in table.variants)]


def figures() -> Figures:
    def masks(base: float) -> list[MaskFigures]:
        return [MaskFigures(base + shift, base + 0.1 + shift, 0.9, 0.05) for shift in (0.0, 0.01, 0.02)]

    return Figures(
        masks={"reference": masks(0.6), "power 0": masks(0.5), "power 4": masks(0.4), "edges": masks(0.65)},
        segmentor={"reference": [0.3, 0.31, 0.32], "power 0": [0.2, 0.23, 0.2], "edges": [0.33, 0.3, 0.36]},
        thresholds={},
    )


def test_names_are_distinct_in_tables_and_in_files() -> None:
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)
    assert set(MAIN_ROWS) <= {variant.name for variant in VARIANTS}
    assert len({file_name(variant) for variant in VARIANTS}) == len(VARIANTS)


def test_every_claims_rows_are_measured_by_its_metrics() -> None:
    for claim in CLAIMS:
        for name in {claim.better, claim.worse} - {REFERENCE.name}:
            rows = [(table, row) for table in EXPERIMENTS for row in (table.reference, *table.variants)]
            ((table, variant),) = [(table, row) for table, row in rows if row.name == name]
            assert all(table.is_measured(variant, metric) for metric in claim.metrics), claim


def test_a_claim_is_a_row_with_each_metrics_difference() -> None:
    found = findings(figures())
    assert "| paper | reference − power 0 | +10.0 ± 0.0 | – | +10.0 ± 5.2 (3) | supported |" in claims_table(found)
    assert "| paper | power 4 − reference | -20.0 ± 0.0 | – | – | contradicted |" in claims_table(found)
    assert claims_line(found) == "2 claims: 1 supported, 1 contradicted, 0 inconclusive.\n"


def test_a_table_has_a_row_for_each_variant_and_marks_missing_figures() -> None:
    text = experiment_table(figures(), experiment("power"))
    assert "| reference | 61.0 ± 2.5 | 71.0 ± 2.5 | 90.0 ± 0.0 | 5.0 | 31.0 ± 2.9 |  |" in text
    assert "| power 4 | 41.0 ± 2.5 | 51.0 ± 2.5 | 90.0 ± 0.0 | 5.0 | – | – |" in text
    assert "| power 0 | 51.0 ± 2.5 | 61.0 ± 2.5 | 90.0 ± 0.0 | 5.0 | 21.0 ± 2.9 | -10.0 ± 5.2 |" in text


def test_a_table_with_its_own_reference_shows_differences_from_it() -> None:
    text = experiment_table(Figures(segmentor={"caption": [0.4, 0.4], "caption and classes": [0.5, 0.5]}), PROMPT)
    assert "| caption and classes | – | – | – | – | 50.0 ± 0.0 |  |" in text
    assert "| caption | – | – | – | – | 40.0 ± 0.0 | -10.0 ± 0.0 |" in text
    assert "| reference |" not in text


def test_an_idea_is_kept_only_if_every_metric_improves() -> None:
    both = figures()
    assert "| edges | +5.0 ± 0.0 | – | +2.0 ± 5.2 (3) | no |" in new_ideas_table(both)
    both.segmentor["edges"] = [0.35, 0.36, 0.38]
    assert "| yes |" in next(line for line in new_ideas_table(both).splitlines() if line.startswith("| edges |"))
