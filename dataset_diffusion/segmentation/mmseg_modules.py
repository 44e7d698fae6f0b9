"""mmsegmentation's modules, imported without their noise."""

import contextlib
import io
import warnings


def import_mmseg() -> None:
    """Register mmsegmentation's models, datasets, hooks and metrics; their names are then known in the scope "mmseg".

    Importing them prints messages about optional parts that nothing here uses (OneDL, compiled operators).
    """
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mmseg.datasets
        import mmseg.engine
        import mmseg.evaluation
        import mmseg.models
        import mmseg.visualization  # noqa: F401
