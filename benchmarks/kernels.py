"""How long does a product take? C = A·B, A·Bᵀ, Aᵀ·B into memory that is there."""

from __future__ import annotations

from ._data import DTYPES, PRODUCTS, product

FORMS = list(PRODUCTS)
SIZES = [64, 128, 256, 512, 1024]

# Compiled (or loaded) and checked before any clock runs: asv sets a benchmark's number of calls
# by its first ones.
for _form in FORMS:
    for _dtype in DTYPES:
        product(_form, _dtype, 8)


class Square:
    version = "1"
    params = [FORMS, DTYPES, SIZES]
    param_names = ["form", "dtype", "size"]

    def time_matmul(self, form: str, dtype: str, size: int) -> None:
        data = product(form, dtype, size)
        PRODUCTS[form](data.a, data.b, data.out)
