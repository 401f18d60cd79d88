"""How long does a product take? C = A·B, A·Bᵀ, Aᵀ·B into memory that is there."""

from __future__ import annotations

from ._base import Timed, warm
from ._data import DTYPES, PRODUCTS, product

FORMS = list(PRODUCTS)
SIZES = [64, 256, 512, 1024]

for _form in FORMS:
    for _dtype in DTYPES:
        warm(product, _form, _dtype, 8)


class Square(Timed):
    version = "1"
    params = [FORMS, DTYPES, SIZES]
    param_names = ["form", "dtype", "size"]

    def time_matmul(self, form: str, dtype: str, size: int) -> None:
        data = product(form, dtype, size)
        PRODUCTS[form](data.a, data.b, data.out)
