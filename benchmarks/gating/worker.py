"""One commit's side of the gate: times cells when told to. Lines of JSON in, one each out.

{"names": true} -> {"names": of all cells}
{"prepare": cell, "sample": seconds} -> {"seconds": of a call}, {"absent": why} or {"error": what};
{"time": cell} -> {"seconds": of a call, over one sample}
"""

from __future__ import annotations

import json
import sys
from typing import Any

from cells import CELLS
from shared import timer


def main() -> None:
    prepared: dict[str, tuple[Any, int]] = {}
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line), CELLS, prepared)), flush=True)


def _answer(request: Any, cells: Any, prepared: Any) -> dict[str, Any]:
    if "names" in request:
        return {"names": list(cells)}
    if "time" in request:
        call, calls = prepared[request["time"]]
        return {"seconds": timer.seconds(call, calls) / calls}
    name = request["prepare"]
    try:
        call = cells[name]()
    except AttributeError as error:
        return {"absent": str(error)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    calls = timer.calls_to_fill(call, request["sample"])
    prepared[name] = call, calls
    return {"seconds": timer.seconds(call, calls) / calls}


if __name__ == "__main__":
    main()
