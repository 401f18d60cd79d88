"""Files as people have them: trained, resumed and predicted by the command line, to an outcome."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from fastgrad import MLP
from fastgrad._mlp.checkpoint import digest
from fastgrad.cli import _report, main
from support.lookalikes import FORMATS, Sample

pandas = pytest.importorskip("pandas")
Capture = pytest.CaptureFixture[str]
EPOCHS = 40


def options(sample: Sample) -> list[str]:
    return [word.replace("Unnamed:_0", "Unnamed: 0") for word in sample.options.split()]


def frame_of(sample: Sample):
    reads = {"sep": sample.separator, **sample.reads}
    frame = pandas.read_csv(sample.file, **reads)
    frame.columns = sample.names
    return frame


@pytest.mark.parametrize("name", FORMATS)
def test_format(
    name: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = FORMATS[name]()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_report, "SAMPLE", 0.001)
    Path(sample.file).write_bytes(sample.data)
    train = ["train", "--data", sample.file, *options(sample), "--save", "m.npz", "--resume"]

    assert main([*train, "--epochs", "5"]) == 0
    assert main([*train, "--epochs", str(EPOCHS)]) == 0
    out, _ = capsys.readouterr()
    assert f"\nm.npz: goes on after epoch 5 of {EPOCHS}\n" in out
    assert f"\ntarget: {sample.target}" in out
    resumed = MLP.load("m.npz")
    assert resumed.epochs == EPOCHS and resumed.table is not None
    if sample.is_regression:
        found = re.findall(r"^error .* R2 (\S+) ", out, re.M)[-1]
        assert float(found) >= sample.least
    else:
        found = re.findall(r"^accuracy +(\S+) %", out, re.M)[-1]
        assert float(found) >= 100 * sample.least

    assert main([*train[:-2], "other.npz", "--epochs", str(EPOCHS)]) == 0
    assert digest(MLP.load("other.npz")) == digest(resumed)
    capsys.readouterr()

    # the columns in another order, without the target and what was dropped
    target = resumed.table.target.name
    frame = frame_of(sample)
    has_header = resumed.table.header
    inputs = [n for n in sample.names if n not in (target, *sample.dropped)]
    order = np.random.default_rng(0).permutation(len(inputs)) if has_header else range(len(inputs))
    frame[[inputs[i] for i in order]].to_csv("new.csv", index=False)
    if not has_header and not sample.dropped:  # nor has the new file
        Path("new.csv").write_text(Path("new.csv").read_text().split("\n", 1)[1])
    if has_header or not sample.dropped:
        assert main(["predict", "m.npz", "--data", "new.csv"]) == 0
        of_new = capsys.readouterr().out.splitlines()
    given = [w for o in ("--separator", "--decimal") if o in sample.options for w in (o,)]
    assert main(["predict", "m.npz", "--data", sample.file, *given, "--output", "p.csv"]) == 0
    err = capsys.readouterr().err
    of_file = Path("p.csv").read_text().splitlines()
    assert of_file[0] == "prediction" and len(of_file) == len(frame) + 1
    if has_header or not sample.dropped:
        assert of_new == of_file
    truth = frame[target].tolist()
    if sample.is_regression:
        assert "\nerror: " in "\n" + err
        predicted = np.array(of_file[1:], float)
        assert 1 - np.var(predicted - truth) / np.var(truth) >= sample.least
        # from Python
        x = resumed.table.encode(frame)
        y = resumed.table.decode(resumed.predict(x))
        np.testing.assert_allclose(y, predicted, rtol=1e-12)
    else:
        right = np.mean([p == str(t) for p, t in zip(of_file[1:], truth, strict=True)])
        assert f"accuracy: {100 * right:.2f} %" in err and right >= sample.least
        x = resumed.table.encode(frame)
        assert [str(c) for c in resumed.table.decode(resumed.predict(x))] == of_file[1:]
