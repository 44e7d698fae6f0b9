"""What the commands share: Hydra's composition of settings, help, and errors of one line."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dataset_diffusion import __version__
from dataset_diffusion.errors import InputError
from dataset_diffusion.paths import configs_dir
from dataset_diffusion.settings.convert import did_you_mean

EXIT_INPUT_ERROR = 2
EXIT_INTERRUPTED = 130

# The results go where `output_dir` says and nowhere else: no outputs/ folder, no log file, no change of directory.
# Only a sweep (-m) has a folder of Hydra's own, `multirun/`, where SLURM's logs go.
QUIET_HYDRA = (
    "hydra.run.dir=.",
    "hydra.sweep.subdir=.",
    "hydra.output_subdir=null",
    "hydra/hydra_logging=none",
    "hydra/job_logging=none",
)


def run_command(
    name: str,
    config_group: str,
    work: Callable[[DictConfig], None],
    after_interrupt: str = "start it again with the same settings to go on",
) -> None:
    """Compose `configs/<config_group>/config.yaml` with the command line's overrides and call `work` on the result.

    The text of `--help` is `hydra.help.template` of that config. It shows the values that would be used:
    `${num_images}` is a value, `${setting:num_images}` the padded "num_images=64" that begins a line of the list.
    What a user can put right ends with the line "<name>: error: ..." on stderr and exit status 2; Ctrl-C ends with
    `after_interrupt` and status 130.
    """
    config_root = str(configs_dir() / config_group)
    arguments = _parse_command_line(name, sys.argv[1:], config_root)
    # Without this Hydra prints its errors itself, and exits; with it they are raised and become one line below.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    OmegaConf.register_new_resolver("setting", _setting_column, replace=True)

    def job(cfg: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        if hydra_config.mode == RunMode.MULTIRUN:
            print(f"{name}: {' '.join(hydra_config.overrides.task)}", flush=True)
        # Ended here, because Hydra would print a line of its own about an exception that leaves the job.
        with _ending_with_one_line(name, after_interrupt, config_root):
            work(cfg)

    sys.argv[1:] = _hydra_arguments(name, arguments)
    with _ending_with_one_line(name, after_interrupt, config_root):
        hydra.main(config_path=config_root, config_name="config", version_base="1.3")(job)()


def _setting_column(key: str, *, _root_: DictConfig) -> str:
    value = OmegaConf.select(_root_, key, throw_on_missing=False)
    # As they would be typed.
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
    return f"{key}={text}".ljust(33)


@contextmanager
def _ending_with_one_line(name: str, after_interrupt: str, config_root: str) -> Iterator[None]:
    """Turn what a user can put right, and Ctrl-C, into one line on stderr and an exit status."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted; {after_interrupt}", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except InputError as error:
        _fail(name, str(error))
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        _fail(name, explain(error, config_root))


def _fail(name: str, message: str) -> NoReturn:
    print(f"{name}: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(EXIT_INPUT_ERROR)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        unknown = re.search(r"unrecognized arguments: --?([\w.-]+)", message)
        remedy = f"; settings are written without dashes, as {unknown[1].replace('-', '_')}=VALUE" if unknown else ""
        _fail(self.prog, f"{message}{remedy}; {self.prog} --help lists them")


def _parse_command_line(name: str, arguments: Sequence[str], config_root: str) -> argparse.Namespace:
    parser = _Parser(prog=name, add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--version", action="version", version=f"{name} {__version__}")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--multirun", "-m", action="store_true")
    parsed = parser.parse_intermixed_args(arguments)
    if parsed.cfg and parsed.multirun:
        parser.error("--cfg prints the settings of one run, not of a sweep (-m)")
    _require_readable(name, parsed.overrides, config_root)
    return parsed


def _hydra_arguments(name: str, arguments: argparse.Namespace) -> list[str]:
    """Hydra's own command line: flags before overrides, because its parser cannot read them mixed."""
    flags = [f"--{flag}" for flag in ("help", "multirun") if getattr(arguments, flag)]
    if arguments.cfg:
        flags += ["--cfg", arguments.cfg]
    if arguments.config_dir:
        flags += ["--config-dir", arguments.config_dir]
    return [*flags, *QUIET_HYDRA, f"hydra.job.name={name}", *arguments.overrides]


def _require_readable(name: str, overrides: Sequence[str], config_root: str) -> None:
    # Hydra's own message says what its grammar expected, and not always in which argument.
    parser = OverridesParser.create()
    for override in overrides:
        try:
            parsed = parser.parse_override(override)
        except HydraException:
            parsed = None
        if parsed and parsed.value() is None:
            _refuse_null_group(name, parsed.key_or_group, config_root)
        if not parsed or not parsed.key_or_group:
            _fail(name, f"{override}: must be key=value; quote odd values, as in 'output_dir=\"a dir (1)\"'")


def _refuse_null_group(name: str, group: str, config_root: str) -> None:
    # Hydra ends with a traceback where a group of configs is set to null.
    if options := sorted(file.stem for file in Path(config_root, group).glob("*.yaml")):
        _fail(name, f"{group}=null: must be one of {', '.join(options)}")


def explain(error: BaseException, config_root: str) -> str:
    """The line a user reads for an error of Hydra, OmegaConf or YAML: the setting, and what to do about it.

    `config_root` is the folder whose `config.yaml` has all known settings, from which a likely name is suggested.
    """
    text = "\n".join(str(link) for link in _with_causes(error))
    unknown = re.search(r"Could not override '([\w./@]+)'", text) or re.search(r"not in struct\s+full_key: (\S+)", text)
    if unknown:
        return f"{unknown[1]}: no such setting{_suggestion(unknown[1], config_root)}; --help lists the settings"
    if missing := re.search(r"Could not find '(.+)/(.+)'\s*Available options in '.+':\s*([^:]*)\n", text):
        is_file = missing[1] == "vocabulary" and missing[2].endswith((".yaml", ".yml"))
        remedy = f"; a file of your own is vocabulary.name={missing[2]}" if is_file else ""
        return f"{missing[1]}={missing[2]}: must be one of {', '.join(sorted(missing[3].split()))}{remedy}"
    if several := re.search(r"Ambiguous value for argument '(.+)'", text):
        return f"{several[1]}: has several values; add -m to run once with each, or quote the whole value"
    if isinstance(error, YAMLError):
        return str(error)
    setting = f"{error.full_key}: " if isinstance(error, OmegaConfBaseException) and error.full_key else ""
    return setting + str(error).split("\n")[0]


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _suggestion(key: str, config_root: str) -> str:
    with initialize_config_dir(config_root, version_base="1.3"):
        known = list(_keys(OmegaConf.to_container(compose("config"))))
    return did_you_mean(key, known)


def _keys(config: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(config, dict):
        for key, value in config.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")
