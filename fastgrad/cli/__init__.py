"""The command line: arguments in, an exit code out; one file a subcommand.

A subcommand is a module with ``HELP``, ``configure(parser)`` and ``run(args) -> exit code``. Exit
codes: 0 done, 1 a check failed, 2 what the user passed cannot be used (one line on stderr, never a
traceback), 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from .._version import __version__
from ._errors import UsageError

COMMANDS = ("train", "predict", "bench", "check", "info", "warmup")


class Parser(argparse.ArgumentParser):
    """Errors are one line, without the usage above them."""

    def error(self, message: str) -> NoReturn:
        what, _, rest = message.partition("unrecognized arguments: ")
        if not what and os.path.isfile(name := rest.partition(" ")[0]):
            message += f"; a file to read is given by --data {name}"
        _fail(self.prog, f"{message} (see {self.prog} --help)", 2)
        self.exit(2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in ``argv`` (default: the process's); without a subcommand, train."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in _OF_MAIN):
        arguments.insert(0, "train")
    name = "fastgrad"
    try:
        args = _parser().parse_args(arguments)
        name = f"fastgrad {args.command}"
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse: --help is 0, an error 2, its line already written
        return stop.code if isinstance(stop.code, int) else 1
    except UsageError as error:
        return _fail(name, str(error), 2)
    except MemoryError as error:
        return _fail(name, f"not enough memory ({error})" if str(error) else "not enough memory", 2)
    except KeyboardInterrupt as stop:
        return _fail(name, f"interrupted {stop}".strip(), 130)
    except BrokenPipeError:  # the reader of our output has gone, as in `fastgrad info | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


_OF_MAIN = ("-h", "--help", "--version")


def _parser() -> Parser:
    parser = Parser(
        prog="fastgrad",
        description="Compiled CPU kernels for dense layers. No command: train on the digits.",
    )
    parser.add_argument("--version", action="version", version=f"fastgrad {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f".{name}", __name__)
        subparser = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.configure(subparser)
        subparser.set_defaults(run=module.run)
    return parser


def _fail(name: str, message: str, code: int) -> int:
    line = f"{name}: {' '.join(message.split())}"
    if sys.stderr is not None and sys.stderr.isatty():
        from . import _terminal  # imports kernels; most processes end without an error

        line = _terminal.wrapped(line)
    print(line, file=sys.stderr, flush=True)
    return code
