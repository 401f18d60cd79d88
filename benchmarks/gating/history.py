"""Does the published page name the commit that made things slow? About a quarter of an hour.

    python benchmarks/gating/history.py [--keep FOLDER] [--picture FILE] [--find]

In a clone, twelve commits, the seventh with the k loop run twice. asv runs three cells over them,
in a fresh virtual environment; results go to a branch of their own, pages are published from that
branch, and the regressions they show of the two ratios must be of the seventh commit, and of no
other. The third, a raw time, is drawn and told, and not judged: a machine that does other things
meanwhile hides the step in it. --find: `asv find` must name the commit too. --picture: the page of
a ratio as headless Chromium shows it; --scripts: a folder with files of the names of the scripts
and styles that asv's pages load from the network, where there is none. Exit code 1 if any fails.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from proof import ROOT, git, twice

COMMITS, SLOW, DAY = 12, 7, 86400
MACHINE, BRANCH = "history", "asv-results"
WHO = ("-c", "user.name=history", "-c", "user.email=history@localhost")
KERNEL = "fastgrad/_kernels/gemm/dispatch.py"
JUDGED = tuple(
    f"ratio.Square.track_matmul_over_numpy('nn', '{dtype}', 256)"
    for dtype in ("float32", "float64")
)
TOLD = "kernels.Square.time_matmul('nn', 'float32', 256)"
PAGE = "index.html#ratio.Square.track_matmul_over_numpy?p-form='nn'&p-size=256"


class Clone:
    """A clone with the history in it, and asv as it runs there."""

    def __init__(self, folder: Path) -> None:
        self.at, self.html = folder / "clone", folder / "clone" / ".asv" / "html"
        # asv keeps a file about the machine in HOME; pip's settings stay those of the user
        home, self.env = Path.home(), {**os.environ, "HOME": str(folder)}
        for variable, usual in (("XDG_CONFIG_HOME", ".config"), ("XDG_CACHE_HOME", ".cache")):
            self.env.setdefault(variable, str(home / usual))
        git("clone", "--quiet", str(ROOT), str(self.at), at=ROOT)
        git("checkout", "--quiet", "-B", "main", at=self.at)
        self.base = self.hash("HEAD")
        start = int(self.output("log", "-1", "--format=%ct"))
        for number in range(1, COMMITS + 1):
            if number == SLOW:
                text = (self.at / KERNEL).read_text()
                assert twice(text) != text, f"nothing was planted in {KERNEL}"
                (self.at / KERNEL).write_text(twice(text))
            (self.at / "NUMBER").write_text(f"{number}\n")
            self.commit(self.at, f"Commit {number}", start + number * DAY)
        self.slow = self.hash(f"HEAD~{COMMITS - SLOW}")

    def output(self, *words: str) -> str:
        return subprocess.check_output(["git", *words], cwd=self.at, text=True).strip()

    def hash(self, revision: str) -> str:
        return self.output("rev-parse", revision)

    def commit(self, at: Path, message: str, seconds: int) -> None:
        date = f"{seconds} +0000"
        dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        git("add", "--all", at=at)
        words = ["git", *WHO, "commit", "--quiet", "-m", message]
        subprocess.run(words, cwd=at, env={**os.environ, **dates}, check=True)

    def configure(self) -> None:
        """The newest numpy alone, and this Python."""
        conf = json.loads((self.at / "asv.conf.json").read_text())
        conf["pythons"] = [f"{sys.version_info[0]}.{sys.version_info[1]}"]
        conf["matrix"]["req"]["numpy"] = conf["matrix"]["req"]["numpy"][-1:]
        (self.at / "asv.conf.json").write_text(json.dumps(conf))

    def asv(self, *words: str) -> str:
        command = [sys.executable, "-m", "asv", *words]
        done = subprocess.run(
            command, cwd=self.at, env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"asv {words[0]} failed:\n{done.stdout[-4000:]}")
        return done.stdout

    def run(self) -> None:
        """asv over the commits, and what it finds on a branch of its own: as CONTRIBUTING says."""
        results = str(self.at / ".asv" / "results")
        tree = subprocess.check_output(["git", "mktree"], cwd=self.at, input=b"").decode().strip()
        empty = self.output(*WHO, "commit-tree", "-m", "Results of asv", tree)
        git("branch", BRANCH, empty, at=self.at)
        git("worktree", "add", "--quiet", results, BRANCH, at=self.at)
        self.asv("machine", "--yes", "--machine", MACHINE)
        cells = [word for cell in (*JUDGED, TOLD) for word in ("-b", f"^{re.escape(cell)}$")]
        self.asv("run", "--machine", MACHINE, "--show-stderr", *cells, f"{self.base}..main")
        self.commit(Path(results), "Twelve commits", int(time.time()))
        git("worktree", "remove", results, at=self.at)
        git("worktree", "add", "--quiet", results, BRANCH, at=self.at)

    def regressions(self) -> dict[str, set[str]]:
        """Cell -> commits, as the published page names them."""
        self.asv("publish")
        index = json.loads((self.html / "index.json").read_text())
        named: dict[str, set[str]] = {}
        for found in json.loads((self.html / "regressions.json").read_text())["regressions"]:
            for before, revision, *_ in found[6]:
                commits = [r for r in (before, revision) if r is not None]
                named.setdefault(found[0], set()).update(
                    index["revision_to_hash"][str(r)] for r in commits
                )
        return named

    def picture(self, path: Path, scripts: Path | None) -> None:
        if scripts:
            page = self.html / "index.html"
            links = r'"https://[^"]*/([^"/]+)"(?: integrity="[^"]*")?'
            page.write_text(re.sub(links, r'"\1"', page.read_text()))
            shutil.copytree(scripts, self.html, dirs_exist_ok=True)
        browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
        if browser is None:
            raise SystemExit("--picture needs Chromium")
        handler = functools.partial(Quiet, directory=str(self.html))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            subprocess.run(
                [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update",
                 "--disable-sync", f"--user-data-dir={self.at.parent / 'browser'}",
                 "--window-size=1200,760", "--virtual-time-budget=20000",
                 f"--screenshot={path.resolve()}",
                 f"http://127.0.0.1:{server.server_address[1]}/{PAGE}"],
                check=True, capture_output=True, timeout=120,
            )  # fmt: skip
            server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", type=Path, help="an empty folder, for all of it to stay in")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--scripts", type=Path)
    parser.add_argument("--find", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep.resolve() if options.keep else Path(temporary)
        folder.mkdir(exist_ok=True)
        clone = Clone(folder)
        bad = judge(clone, options.find)
        if options.picture:
            clone.picture(options.picture, options.scripts)
        return int(bad)


def judge(clone: Clone, find: bool) -> bool:
    clone.configure()
    clone.run()
    named = clone.regressions()
    bad = False
    for cell in (*JUDGED, TOLD):
        right = named.get(cell) == {clone.slow}
        bad |= not right and cell in JUDGED
        how = "told" if cell == TOLD else "as it should" if right else "NOT AS IT SHOULD"
        commits = ", ".join(sorted(c[:8] for c in named.get(cell, ()))) or "none"
        print(f"{how}: {cell}: {commits}", flush=True)
    print(f"    the slow one, {SLOW} of {COMMITS}, is {clone.slow[:8]}")
    if find:
        words = (
            "find",
            "--skip-save",
            "--machine",
            MACHINE,
            f"{clone.base}..main",
            f"^{re.escape(JUDGED[0])}$",
        )
        said = clone.asv(*words).strip().splitlines()[-1]
        right = clone.slow[:8] in said
        bad |= not right
        print(f"{'as it should' if right else 'NOT AS IT SHOULD'}: {said}")
    print("the page is wrong" if bad else "the page names it")
    return bad


if __name__ == "__main__":
    sys.exit(main())
