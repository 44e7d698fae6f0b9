"""The reproduction as plots."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts.reproduction.figures import Figures
from scripts.reproduction.findings import Finding, mean
from scripts.reproduction.mechanism import POWERS, SizeGroup
from scripts.reproduction.scale import Scale
from scripts.reproduction.statistics import Interval
from scripts.reproduction.variants import REFERENCE, Experiment, Metric

COLOURS: dict[Metric, str] = {"masks": "tab:blue", "judged": "tab:green", "segmentor": "tab:orange"}
OFFSETS: dict[Metric, float] = {"masks": -0.2, "judged": 0.0, "segmentor": 0.2}
"""Vertical offsets of a row's points, so that they do not hide each other."""
NUMBERS = {
    "generated": ("generated, half as many", REFERENCE.name, "generated, twice as many"),
    "rendered, exact masks": ("rendered, half as many", "rendered", "rendered, twice as many"),
}
"""Rows with half, the same and twice the number of images."""


def plot_experiments(figures: Figures, tables: Sequence[Experiment], path: Path) -> None:
    """A panel for each table: each row's mIoU by each metric, with 95% intervals."""
    heights = [len(table.variants) + 4 for table in tables]  # with room for the title and the axis
    figure = Figure(figsize=(9, 0.27 * sum(heights)), layout="constrained")
    panels = figure.subplots(len(tables), squeeze=False, height_ratios=heights)
    for panel, table in zip(panels.flat, tables, strict=True):
        names = [variant.name for variant in (table.reference, *table.variants)]
        for metric, offset in OFFSETS.items():
            points = [(place, mean(figures, name, metric)) for place, name in enumerate(names)]
            known = [(place, measured) for place, measured in points if measured is not None]
            if metric not in table.metrics or not known:
                continue
            _draw_intervals(panel, known, metric, offset)
        panel.set_yticks(range(len(names)), names)
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.set_title(table.title, fontsize=10, loc="left")
        panel.set_xlabel("mIoU, %")
        panel.grid(axis="x", alpha=0.3)
        panel.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def plot_numbers(figures: Figures, scale: Scale, path: Path) -> None:
    """The segmentor's mIoU by the number of images, generated and rendered."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    panel = figure.subplots()
    for label, names in NUMBERS.items():
        measured = [mean(figures, name, "segmentor") for name in names]
        counts = [scale.images / 2, scale.images, 2 * scale.images]
        known = [(count, value) for count, value in zip(counts, measured, strict=True) if value is not None]
        panel.errorbar(
            [count for count, _ in known],
            [value.mean for _, value in known],
            yerr=[value.half_width for _, value in known],
            marker="o",
            capsize=3,
            label=label,
        )
    panel.set_xscale("log", base=2)
    panel.set_xticks(counts, [f"{count:.0f}" for count in counts])
    panel.set_xlabel("images")
    panel.set_ylabel("mIoU of the segmentor, %")
    panel.grid(alpha=0.3)
    panel.legend()
    _save(figure, path)


def plot_claims(found: Sequence[Finding], path: Path) -> None:
    """Each claim's difference by each metric, with its 95% interval: right of zero the claim is supported."""
    figure = Figure(figsize=(11, 0.5 * len(found) + 1), layout="constrained")
    panel = figure.subplots()
    panel.axvline(0, color="black", linewidth=0.8)
    for metric, offset in OFFSETS.items():
        known = [(place, finding.outcome(metric)) for place, finding in enumerate(found)]
        points = [(place, outcome.difference) for place, outcome in known if outcome is not None]
        if points:
            _draw_intervals(panel, points, metric, offset)
    labels = [f"{finding.claim.text}: {finding.verdict}" for finding in found]
    panel.set_yticks(range(len(found)), labels, fontsize=8)
    panel.invert_yaxis()
    panel.set_xlabel("difference, points")
    panel.grid(axis="x", alpha=0.3)
    panel.legend(loc="lower right", fontsize=8)
    _save(figure, path)


def plot_power(groups: Sequence[SizeGroup], path: Path) -> None:
    """How much self-attention stays on objects, and the IoU of their masks, by power and object size."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    staying, iou = figure.subplots(1, 2)
    places = range(len(POWERS))
    for number, group in enumerate(groups):
        colour = f"C{number}"
        for panel, means, line in ((staying, group.fine, "-"), (staying, group.coarse, "--"), (iou, group.iou, "-")):
            panel.errorbar(
                places,
                [100 * value.mean for value in means],
                yerr=[100 * value.half_width for value in means],
                fmt=f"o{line}",
                capsize=3,
                color=colour,
            )
        staying.axhline(100 * group.chance, color=colour, linestyle=":")
        iou.plot([], [], color=colour, label=f"{group.smallest:.0f} to {group.largest:.0f}")
    for label, line in (("16 x 16", "-"), ("8 x 8", "--"), ("the object's share of the image", ":")):
        staying.plot([], [], color="grey", linestyle=line, label=label)
    staying.set_title("Self-attention that stays on the object", fontsize=10, loc="left")
    staying.set_ylabel("share of the attention of its positions, %")
    staying.legend(fontsize=8, title="grid", title_fontsize=8)
    iou.set_title("Masks of the object", fontsize=10, loc="left")
    iou.set_ylabel("mean IoU, %")
    iou.legend(fontsize=8, title="area of the object,\npositions of 16 x 16", title_fontsize=8)
    for panel in (staying, iou):
        panel.set_xticks(places, [str(power) for power in POWERS])
        panel.set_xlabel("power of the self-attention")
        panel.set_ylim(0, 100)
        panel.grid(alpha=0.3)
    _save(figure, path)


def _draw_intervals(panel: Axes, points: Sequence[tuple[int, Interval]], metric: Metric, offset: float) -> None:
    """Draw a metric's values at their places, slightly above or below those of the other metrics."""
    panel.errorbar(
        [value.mean for _, value in points],
        [place + offset for place, _ in points],
        xerr=[value.half_width for _, value in points],
        fmt="o",
        capsize=3,
        color=COLOURS[metric],
        label=metric,
    )


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Software": None})
