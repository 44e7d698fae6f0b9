"""Checks that settings make of themselves."""

from dataset_diffusion.errors import InputError


def require(condition: bool, setting: str, value: object, remedy: str) -> None:
    """Raise the InputError "setting=value: remedy" unless the condition holds."""
    if not condition:
        raise InputError(f"{setting}={'null' if value is None else value}: {remedy}")


def one_of(choices: tuple[str, ...]) -> str:
    """The remedy for a value that is none of `choices`."""
    return f"must be {choices[0]}" if len(choices) == 1 else f"must be one of {', '.join(choices)}"
