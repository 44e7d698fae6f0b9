"""Shared by all commands: settings composed by Hydra, the help, and one-line errors."""

import argparse
import errno
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dataset_diffusion import __version__
from dataset_diffusion.cli.help import help_text
from dataset_diffusion.cli.overrides import check_overrides
from dataset_diffusion.errors import InputError, first_line
from dataset_diffusion.paths import configs_dir
from dataset_diffusion.settings.convert import to_settings

Settings = TypeVar("Settings")

EXIT_INPUT_ERROR = 2
EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143
ENVIRONMENT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)

# The results go where `output_dir` says and nowhere else: no outputs/ folder, no log file, no change of directory.
# Only in a sweep (-m) does Hydra have a folder, `multirun/`, where SLURM's logs go.
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
    settings_class: type[Settings],
    work: Callable[[Settings], None],
    about: str = "",
    after_interrupt: str | None = None,
) -> None:
    """Compose `configs/<config_group>/config.yaml` with the command line's overrides and call `work` on the settings.

    `--help` prints `about`, then all settings with the values that would be used and the docstrings of their fields.
    An error that the user can fix ends with the line "<name>: error: ..." on stderr and exit status 2. Ctrl-C and
    SIGTERM end with `after_interrupt`, by default the command line that resumes the run, and status 130 or 143.
    """
    config_root = configs_dir() / config_group
    # Read now: below, sys.argv is rewritten for Hydra.
    after_interrupt = after_interrupt or resume_line(name)
    arguments = _parse_command_line(name, sys.argv[1:])
    own = [Path(arguments.config_dir).absolute()] if arguments.config_dir else []
    config_dirs = [config_root, *own]
    # Without this, Hydra prints its errors itself and exits; with it, they are raised and become one line below.
    os.environ["HYDRA_FULL_ERROR"] = "1"

    def job(cfg: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        if hydra_config.mode == RunMode.MULTIRUN:
            print(f"{name}: {' '.join(text.lstrip('+') for text in hydra_config.overrides.task)}", flush=True)
        # Handled here, because Hydra would print a line about an exception that leaves the job.
        with _ending_with_one_line(name, after_interrupt):
            work(to_settings(settings_class, cfg))

    with _ending_with_one_line(name, after_interrupt), _raising_on_sigterm():
        for folder in own:
            _require_own_names(folder, config_root)
        overrides = check_overrides(arguments.overrides, settings_class, config_dirs, arguments.multirun)
        if arguments.help:
            cfg = _compose(config_root, own, [] if arguments.multirun else overrides)
            _print_help(help_text(about, settings_class, cfg, config_dirs))
            return
        sys.argv[1:] = _hydra_arguments(name, arguments, overrides)
        hydra.main(config_path=str(config_root), config_name="config", version_base="1.3")(job)()


def _require_own_names(folder: Path, config_root: Path) -> None:
    """Raise InputError if a config has the name of a shipped one, which Hydra would use instead."""
    for shipped in sorted(config_root.glob("*/**/*.yaml")):
        name = shipped.relative_to(config_root)
        if (folder / name).exists():
            raise InputError(f"{folder / name}: the shipped {name} would be used instead; give it another name")


def _print_help(text: str) -> None:
    """Print a long text whose reader, such as `head`, may stop early."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit


def resume_line(name: str, *added: str) -> str:
    """How to resume the work of this command line: the same one, with the settings `added`.

    The command line of a launcher that started several processes is not known here.
    """
    settings = [setting for setting in added if setting not in sys.argv]
    if any(variable in os.environ for variable in ("RANK", "SLURM_PROCID")):
        return f"start it again with the same settings{''.join(f' and {text}' for text in settings)} to resume"
    return f"to resume: {shlex.join([name, *sys.argv[1:], *settings])}"


def _compose(config_root: Path, config_dirs: Sequence[Path], overrides: Sequence[str]) -> DictConfig:
    # Quoted, with Hydra's escapes: a folder can have any name.
    quoted = [str(folder).replace("\\", "\\\\").replace("'", "\\'") for folder in config_dirs]
    search_path = ["hydra.searchpath=[" + ",".join(f"'file://{folder}'" for folder in quoted) + "]"]
    with initialize_config_dir(str(config_root), version_base="1.3"):
        return compose("config", [*(search_path if config_dirs else []), *overrides])


class _Terminated(KeyboardInterrupt):
    """SIGTERM asked the process to stop."""

    status = EXIT_TERMINATED


@contextmanager
def _raising_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the main thread's work as Ctrl-C does, not in silence: schedulers send it before they kill."""
    # torchrun ends the others with SIGTERM when one process fails; one that waits for the failed one in a collective
    # operation would not come to run a handler, and torchrun would wait for half a minute.
    if "WORLD_SIZE" in os.environ or threading.current_thread() is not threading.main_thread():
        yield
        return
    process = os.getpid()

    def stop(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != process:  # a forked worker, which only this process may end: it does so with SIGTERM
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _ending_with_one_line(name: str, after_interrupt: str) -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM, and errors that the user can fix, into one line on stderr and an exit status."""
    try:
        yield
    except KeyboardInterrupt as stop:
        print(f"\n{name}: interrupted; {after_interrupt}", file=sys.stderr)
        sys.exit(getattr(stop, "status", EXIT_INTERRUPTED))
    except InputError as error:
        _fail(name, str(error))
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        _fail(name, _explain(error))
    except UnicodeDecodeError as error:
        _fail(name, f"a config file is not UTF-8 text ({error}); save it as UTF-8")
    except OSError as error:
        # Libraries write files, too: logs, scalars, a sweep's folder.
        if error.errno not in ENVIRONMENT_ERRORS:
            raise
        _fail(name, f"{error.filename or 'a file'}: cannot be written: {error.strerror}")


def _fail(name: str, message: str) -> NoReturn:
    print(f"{name}: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(EXIT_INPUT_ERROR)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _fail(self.prog, f"{message}; {self.prog} --help lists them")


def _parse_command_line(name: str, arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog=name, add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--version", action="version", version=f"{name} {__version__}")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--multirun", "-m", action="store_true")
    parsed, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown:
        setting = unknown[0].lstrip("-").partition("=")[0].replace("-", "_")
        parser.error(f"{unknown[0]}: no such flag; settings are written without dashes: {setting}=VALUE")
    if parsed.cfg and parsed.multirun:
        parser.error("--cfg prints the settings of one run, not of a sweep (-m)")
    return parsed


def _hydra_arguments(name: str, arguments: argparse.Namespace, overrides: Sequence[str]) -> list[str]:
    """Hydra's own command line: flags before overrides, because its parser cannot handle them mixed."""
    flags = ["--multirun"] if arguments.multirun else []
    if arguments.cfg:
        flags += ["--cfg", arguments.cfg]
    if arguments.config_dir:
        flags += ["--config-dir", arguments.config_dir]
    return [*flags, *QUIET_HYDRA, f"hydra.job.name={name}", *overrides]


def _explain(error: Exception) -> str:
    """The line for faults that only Hydra finds: in a config file, an interpolation or a folder of configs."""
    if isinstance(error, YAMLError):
        return str(error)
    if of_others := re.search(r"Could not override '(.+)'", str(error)):
        return f"{of_others[1]}: is not a setting of the chosen configs; --help with the same choices lists them"
    setting = f"{error.full_key}: " if isinstance(error, OmegaConfBaseException) and error.full_key else ""
    return setting + first_line(error)
