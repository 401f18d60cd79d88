"""The sum of a vector's lanes: what the contract does not allow."""

from __future__ import annotations

from ..codegen.simd import Simd, Value


def lane_sums(ops: Simd, vectors: list[Value]) -> Value:
    """A power of two of vectors, as many as there are lanes or fewer -> their sums, in the first
    lanes in order. Halves of segments are added, those of two vectors side by side."""
    lanes, width = ops.lanes, ops.lanes
    while width > 1:
        half, count = width // 2, lanes // width
        first = [i * width + q for i in range(count) for q in range(half)]
        low = first + [lanes + q for q in first]
        high = [q + half for q in low]
        lefts, rights = vectors[::2], vectors[1::2] or vectors
        vectors = [
            ops.shuffle(x, y, low) + ops.shuffle(x, y, high)
            for x, y in zip(lefts, rights, strict=True)
        ]
        width = half
    return vectors[0]
