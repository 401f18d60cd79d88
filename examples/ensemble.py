"""An ensemble: its members see the same batches, and the mean of their probabilities decides.

Each member starts from its own seed. How far they disagree says how sure the ensemble is.
"""

import numpy as np

import fastgrad
from fastgrad.datasets import load_digits, stratified_split

x, y = load_digits()
train, held = stratified_split(y)
members = [fastgrad.MLP((64, 8, 10), optimizer=fastgrad.Adam(0.01), seed=seed) for seed in range(8)]
rng = np.random.default_rng(0)
for _ in range(15):
    for rows in np.array_split(rng.permutation(train), len(train) // 32):
        for member in members:
            member.train_step(x[rows], y[rows])

votes = np.stack([member.predict_proba(x[held]) for member in members])  # (members, rows, classes)
alone = (votes.argmax(axis=2) == y[held]).mean(axis=1)
together = votes.mean(axis=0).argmax(axis=1)
right = together == y[held]
print(f"right: {alone.min():.0%} to {alone.max():.0%} alone, {right.mean():.0%} together")
# right: 90% to 94% alone, 95% together

agreed = (votes.argmax(axis=2) == together).all(axis=0)
print(f"where all agree, on {agreed.mean():.0%}: {right[agreed].mean():.0%} right")
# where all agree, on 83%: 99% right
print(f"where they do not: {right[~agreed].mean():.0%}")
# where they do not: 74%
