"""What fastgrad.torch gains: a training step with nn.Linear, with its Linear, and as an MLP.

    python benchmarks/compare/torch_door.py [--rounds 9] [--threads N] [--net 1,2,3] [--write]

The nets, their step and the way of timing are those of steps.py: each side in its own process, in
turns, its first losses checked against float64. --write puts the table into docs/torch.md. As a
worker: torch_door.py SIDE THREADS.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import machine
import pages
import steppers
import steps
import steps_worker
from nets import Net

import fastgrad

PAGE = Path(__file__).parents[2] / "docs" / "torch.md"
NETS = (
    Net((64, 128, 10), 32),
    Net((376, 256, 256, 17), 64),
    Net((784, 512, 512, 10), 128),
)
HEADS = {
    "torch": "nn.Linear, nn.ReLU",
    "door": "fastgrad.torch.Linear",
    "door_alone": "the same, torch.set_num_threads(1)",
}

HEADS_SHOWN = [name.replace("_", " ") for name in HEADS]  # as steps.measured calls them


def door_step(net: Net, rate: float, alone: bool = False) -> steppers.Step:
    """alone: fastgrad has the threads, and what torch does in between one."""
    import torch

    from fastgrad.torch import Linear

    threads = int(sys.argv[2])
    fastgrad.set_num_threads(threads)
    torch.set_num_threads(1 if alone else threads)
    return steppers.torch_step(net, rate, fused=Linear)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=fastgrad.get_num_threads())
    parser.add_argument("--net", default="1,2,3", help="which of the nets")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    steps.PROGRAM = Path(__file__).name
    run, company = machine.describe_run(["numpy", "torch"], {}), machine.Company()
    lines = [
        f"A training step as in README's table, float32, {options.threads} threads: µs of "
        "`MLP.train_step`, and beside it the other's time / that, with its own µs:",
        "",
        "| net, batch | MLP.train_step | " + " | ".join(HEADS.values()) + " |",
        "| --- | --- |" + " --- |" * len(HEADS),
    ]
    for net in (NETS[int(i) - 1] for i in options.net.split(",")):
        row = steps.compare(net, ["fastgrad", *HEADS], options.threads, options.rounds)
        lines.append(pages.steps_line(steps.measured(net, row), HEADS_SHOWN))
        print(lines[-1], flush=True)
    versions = ", ".join(f"{name} {what}" for name, what in run["versions"].items())
    shares = ", ".join(f"{name} {share}" for name, share in company.shares().items())
    lines += [
        "",
        f"{run['date']}, {run['machine']['cpu']}, {options.rounds} rounds; {versions}"
        + (f"; CPU time taken by {shares}" if shares else ""),
    ]
    print("\n".join(lines))
    if options.write:
        pages.replace(PAGE, "torch", "\n".join(lines))


if __name__ == "__main__":
    if sys.argv[1:2] and not sys.argv[1].startswith("-"):
        steppers.LIBRARIES["door"] = door_step
        steppers.LIBRARIES["door_alone"] = lambda net, rate: door_step(net, rate, alone=True)
        steps_worker.main()
    else:
        main()
