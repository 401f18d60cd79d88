"""Files as people have them, made up: their separators, headers, gaps and words, drawn numbers.

``FORMATS[name]()`` -> a Sample: the file, the options that it takes, and what it is to come to.
Nothing is of the real data sets but the shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

Cells = list[list[str]]


@dataclass(frozen=True)
class Sample:
    file: str
    data: bytes
    options: str  # of train
    target: str  # what is said of it, after "target: "
    names: list[str]  # of the columns
    least: float  # share of right classes, or R2, that training reaches
    dropped: tuple[str, ...] = ()
    separator: str = ","
    is_regression: bool = False
    reads: dict[str, object] = field(default_factory=dict)  # for pandas.read_csv


def _text(rows: Cells, separator: str = ",", end: str = "\n") -> str:
    return "".join(separator.join(row) + end for row in rows)


def _flowers(rng: np.random.Generator, n: int = 150) -> tuple[Cells, list[str]]:
    centers = np.array([[5.0, 3.4, 1.5, 0.2], [5.9, 2.8, 4.3, 1.3], [6.6, 3.0, 5.6, 2.0]])
    kinds = np.arange(n) * 3 // n
    x = centers[kinds] + rng.standard_normal((n, 4)) * [0.35, 0.3, 0.3, 0.15]
    return [[f"{v:.1f}" for v in row] for row in x], [
        ("setosa", "versicolor", "virginica")[k] for k in kinds
    ]


FLOWER = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


def iris_uci() -> Sample:
    x, kinds = _flowers(np.random.default_rng(1))
    rows = [[*row, f"Iris-{kind}"] for row, kind in zip(x, kinds, strict=True)]
    return Sample(
        "iris.data", (_text(rows) + "\n").encode(), "",
        "column '5', 3 classes: Iris-setosa, Iris-versicolor, Iris-virginica",
        list("12345"), 0.93, reads={"header": None},
    )  # fmt: skip


def iris_csv() -> Sample:
    x, kinds = _flowers(np.random.default_rng(2))
    rows = [[*FLOWER, "species"]]
    rows += [[*row, kind] for row, kind in zip(x, kinds, strict=True)]
    return Sample(
        "iris.csv", _text(rows).encode(), "",
        "column 'species', 3 classes: setosa, versicolor, virginica",
        rows[0], 0.93,
    )  # fmt: skip


def pandas_index() -> Sample:
    x, kinds = _flowers(np.random.default_rng(3))
    rows = [["", *FLOWER, "species"]]
    rows += [[str(i), *row, kinds[i]] for i, row in enumerate(x)]
    return Sample(
        "index.csv", _text(rows).encode(), "--drop Unnamed:_0",
        "column 'species', 3 classes: setosa, versicolor, virginica",
        ["Unnamed: 0", *rows[0][1:]], 0.93, dropped=("Unnamed: 0",),
    )  # fmt: skip


def _wine(rng: np.random.Generator) -> Cells:
    kinds = np.repeat([1, 2, 3], [59, 71, 48])
    x = rng.standard_normal((178, 13)) + 1.6 * rng.standard_normal((4, 13))[kinds]
    x[:, 12] = 750 + 150 * x[:, 12]
    return [
        [str(k), *(f"{v:.2f}" for v in row[:12]), str(int(row[12]))]
        for k, row in zip(kinds, x, strict=True)
    ]


WINE = "Alcohol Malic Ash Alcalinity Magnesium Phenols Flavanoids Nonflavanoid Proanthocyanins"
WINE_NAMES = ["class", *WINE.split(), "Color", "Hue", "OD280", "Proline"]


def wine_uci() -> Sample:
    return Sample(
        "wine.data", _text(_wine(np.random.default_rng(4))).encode(), "",
        "column '1', 3 classes, 1 to 3",
        [str(i + 1) for i in range(14)], 0.93, reads={"header": None},
    )  # fmt: skip


def wine_class_first() -> Sample:
    rows = [WINE_NAMES, *_wine(np.random.default_rng(5))]
    return Sample(
        "wine.csv", _text(rows).encode(), "", "column 'class', 3 classes, 1 to 3", rows[0], 0.93
    )


def wine_quality() -> Sample:
    rng = np.random.default_rng(6)
    names = ["fixed acidity", "volatile acidity", "citric acid", "residual sugar", "chlorides",
             "sulphur", "density", "pH", "sulphates", "alcohol", "quality"]  # fmt: skip
    x = rng.standard_normal((900, 10)).cumsum(axis=1) * 0.1 + 3
    score = 6 + 9 * (x[:, 9] - x[:, 1]) + 0.15 * rng.standard_normal(900)
    quality = np.clip(np.round(score), 3, 8).astype(int)
    rows = [[f'"{name}"' for name in names]]
    rows += [[f"{v:.4f}" for v in row] + [str(q)] for row, q in zip(x, quality, strict=True)]
    return Sample(
        "winequality.csv", _text(rows, ";").encode(), "",
        "column 'quality', 6 classes, 3 to 8", names, 0.68, separator=";",
    )  # fmt: skip


def wdbc() -> Sample:
    rng = np.random.default_rng(7)
    kinds = (np.arange(400) * 7 % 19 < 7).astype(int)
    scales = 10.0 ** rng.integers(-3, 4, 30)
    x = (rng.standard_normal((400, 30)) + 5 + 1.1 * kinds[:, None] * rng.random(30)) * scales
    ids = rng.permutation(10**6)[:400] + 800_000
    rows = [
        [str(i), "BM"[k], *(f"{v:.5g}" for v in row)]
        for i, k, row in zip(ids, kinds, x, strict=True)
    ]
    return Sample(
        "wdbc.data", _text(rows).encode(), "--drop 1", "column '2', 2 classes: B, M",
        [str(i + 1) for i in range(32)], 0.93, dropped=("1",), reads={"header": None},
    )  # fmt: skip


def adult() -> Sample:
    rng = np.random.default_rng(8)
    rows: Cells = []
    work = ["Private", "State-gov", "Self-emp-inc", "?"]
    school = ["Bachelors", "HS-grad", "Masters", "11th"]
    for _ in range(1500):
        age, hours = int(rng.integers(17, 90)), int(rng.integers(10, 80))
        w, s = int(rng.integers(4)), int(rng.integers(4))
        sex = ("Male", "Female")[int(rng.integers(2))]
        rich = (
            0.05 * (age - 45) + 0.06 * (hours - 40) + (1.2, -0.8, 2.0, -1.5)[s] + (0, 0.3, 1, -1)[w]
        )
        label = ">50K" if rich + 0.6 * rng.standard_normal() > 0 else "<=50K"
        rows.append([str(age), work[w], str(int(rng.integers(10**4, 10**6))), school[s], sex,
                     str(hours), label])  # fmt: skip
    return Sample(
        "adult.data", (_text(rows, ", ") + "\n").encode(), "--target 7",
        "column '7', 2 classes: <=50K, >50K", list("1234567"), 0.82,
        reads={"header": None, "skipinitialspace": True, "na_values": ["?"]},
    )  # fmt: skip


def titanic() -> Sample:
    rng = np.random.default_rng(9)
    rows = ["PassengerId Survived Pclass Name Sex Age SibSp Ticket Fare Cabin Embarked".split()]
    for i in range(700):
        sex, pclass = int(rng.integers(2)), int(rng.integers(1, 4))
        age = rng.uniform(1, 75)
        lives = 2.5 * sex - 1.1 * (pclass - 2) - 0.02 * age - 0.3 + 0.7 * rng.standard_normal() > 0
        rows.append([
            str(i + 1), str(int(lives)), str(pclass), f'"Doe, Mr. ""Jo"" {i}"',
            ("male", "female")[sex], "" if rng.random() < 0.2 else f"{age:.1f}",
            str(int(rng.integers(0, 4))), f"A/5 {rng.integers(10**5)}", f"{rng.uniform(5, 90):.4f}",
            "" if rng.random() < 0.77 else f"C{i}", ("S", "C", "Q", "")[int(rng.integers(4))],
        ])  # fmt: skip
    return Sample(
        "titanic.csv", _text(rows, end="\r\n").encode(),
        "--target Survived --drop PassengerId,Name,Ticket,Cabin",
        "column 'Survived', 2 classes, 0 to 1", rows[0], 0.76,
        dropped=("PassengerId", "Name", "Ticket", "Cabin"),
    )  # fmt: skip


def housing() -> Sample:
    rng = np.random.default_rng(10)
    rows = [["longitude", "housing_median_age", "total_bedrooms", "median_income",
             "ocean_proximity", "median_house_value"]]  # fmt: skip
    places = ["INLAND", "NEAR BAY", "NEAR OCEAN", "<1H OCEAN"]
    for _ in range(1200):
        income, age, place = rng.gamma(4, 1), int(rng.integers(1, 53)), int(rng.integers(4))
        value = 40_000 * income + 700 * age + (0, 60_000, 50_000, 30_000)[place]
        value += 9_000 * rng.standard_normal()
        rows.append([
            f"{rng.uniform(-124, -114):.2f}", str(age), "" if rng.random() < 0.03 else
            str(int(rng.gamma(2, 250))), f"{income:.4f}", places[place], str(int(value)),
        ])  # fmt: skip
    return Sample(
        "housing.csv", _text(rows).encode(), "--target median_house_value",
        "column 'median_house_value', numbers from ", rows[0], 0.95, is_regression=True,
    )  # fmt: skip


def mnist() -> Sample:
    rng = np.random.default_rng(11)
    shapes = rng.random((10, 784)) < 0.15
    rows = [["label", *(f"{i}x{j}" for i in range(1, 29) for j in range(1, 29))]]
    for i in range(500):
        seen = shapes[i % 10] & (rng.random(784) < 0.6)
        pixels = seen * rng.integers(1, 256, 784)
        rows.append([str(i % 10), *map(str, pixels.tolist())])
    return Sample(
        "mnist.csv", _text(rows).encode(), "", "column 'label', 10 classes, 0 to 9", rows[0], 0.93
    )


def bikes() -> Sample:
    rng = np.random.default_rng(12)
    rows = ["instant dteday season weekday temp hum casual registered cnt".split()]
    first = np.datetime64("2011-01-01")
    for i in range(731):
        temp = 0.5 - 0.3 * np.cos(i / 58.1) + 0.03 * rng.standard_normal()
        count = 1500 + 5000 * temp + 2.5 * i + 300 * rng.standard_normal()
        casual, day = int(count * 0.2), first + np.timedelta64(i, "D")
        rows.append([
            str(i + 1), str(day), str(1 + i % 366 // 92), str(i % 7), f"{temp:.6f}",
            f"{rng.uniform(0.3, 0.9):.6f}", str(casual), str(int(count) - casual), str(int(count)),
        ])  # fmt: skip
    return Sample(
        "day.csv", _text(rows).encode(), "--target cnt --drop instant,casual,registered",
        "column 'cnt', numbers from ", rows[0], 0.85, is_regression=True,
        dropped=("instant", "casual", "registered"),
    )  # fmt: skip


def excel() -> Sample:
    """As a German one saves it."""
    rng = np.random.default_rng(13)
    rows = [["Größe", "Gewicht", "Gruppe", "Erfolg"]]
    for _ in range(400):
        size, weight, group = rng.normal(1.75, 0.1), rng.normal(75, 12), int(rng.integers(3))
        good = 8 * (size - 1.75) - 0.08 * (weight - 75) + (0.8, 0, -0.8)[group]
        rows.append([
            f"{size:.2f}".replace(".", ","), f"{weight:.1f}".replace(".", ","), "ABC"[group],
            "Ja" if good + 0.2 * rng.standard_normal() > 0 else "Nein",
        ])  # fmt: skip
    return Sample(
        "Mappe1.csv", _text(rows, ";", "\r\n").encode("utf-8-sig"), "--target Erfolg",
        "column 'Erfolg', 2 classes: Ja, Nein", rows[0], 0.87, separator=";",
        reads={"decimal": ","},
    )  # fmt: skip


FORMATS: dict[str, Callable[[], Sample]] = {
    f.__name__: f
    for f in (
        iris_uci, iris_csv, pandas_index, wine_uci, wine_class_first, wine_quality, wdbc, adult,
        titanic, housing, mnist, bikes, excel,
    )
}  # fmt: skip
