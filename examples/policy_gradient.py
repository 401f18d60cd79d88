"""A loss of one's own: a policy learns by REINFORCE (Williams 1992) to walk to the end of a line.

F = the mean over all steps of -advantage * log p(action). Its gradient by the logits of one step is
advantage * (p - onehot(action)) / steps, and backward takes it from there.
"""

import numpy as np

import fastgrad

CELLS, STEPS, GAMES = 8, 20, 64
policy = fastgrad.MLP((CELLS, 32, 2), "tanh", optimizer=fastgrad.Adam(0.02), seed=1)
one_hot = np.eye(CELLS, dtype=np.float32)
rng = np.random.default_rng(0)


def play() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """GAMES games at a time -> where they were, what they did, whether they got to the end."""
    place = np.zeros(GAMES, int)
    seen, done = [], []
    for _ in range(STEPS):
        right = rng.random(GAMES) < policy.predict_proba(one_hot[place])[:, 1]
        seen.append(place)
        done.append(right.astype(int))
        place = np.clip(place + np.where(right, 1, -1), 0, CELLS - 1)
    return np.concatenate(seen), np.concatenate(done), place == CELLS - 1


wins = []
for _ in range(10):
    places, actions, won = play()
    wins.append(won.mean())
    advantage = np.tile(won - won.mean(), STEPS)
    logits = policy.forward(one_hot[places], keep=True)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(p)), actions] -= 1
    policy.backward(advantage[:, None] * p / len(p))
    policy.update()
print("won:", ", ".join(f"{share:.0%}" for share in wins[::3]))
# won: 5%, 62%, 98%, 100%
