"""One-word tasks, in the environment that nox is called from: `nox -s tests`.

A session passes on what stands after --, such as `nox -s tests -- -k matmul`.
"""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "smoke"]


@nox.session
def smoke(session: nox.Session) -> None:
    """The suite of 20 seconds."""
    session.run("pytest", "-q", "-m", "smoke", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """The usual suite."""
    session.run("pytest", *session.posargs)


@nox.session
def tiers(session: nox.Session) -> None:
    """All tiers but `slow`."""
    session.run("pytest", "-m", "not slow", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff's rules and its format."""
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """mypy."""
    session.run("mypy", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Write docs/api.md, and run README, docstrings and examples."""
    session.run("python", "docs/make_api.py")
    session.run("pytest", "-q", "tests/docs", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Our time over numpy's, each once, or those that are named."""
    which = session.posargs or ["-b", "over_numpy"]
    session.run("asv", "run", "-E", "existing", "--quick", "--dry-run", "--show-stderr", *which)


@nox.session
def ci(session: nox.Session) -> None:
    """What every commit must pass: .ci/run, on the last commit."""
    session.run(".ci/run", external=True)


@nox.session
def nightly(session: nox.Session) -> None:
    """The legs of .ci/nightly that are named, or all."""
    session.run(".ci/nightly", *session.posargs, external=True)
