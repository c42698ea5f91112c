"""One model, one tool, one process: prints what is found as JSON lines, each as soon as it is known.

``zoo.py`` starts it with limits on memory and processor time; what was printed before a limit struck still counts.
"""

import json
import sys
import traceback
import warnings

import zoo_nasc
import zoo_peers


def main(tool: str, model: str) -> None:
    """Examine one model with one tool."""
    warnings.simplefilter("ignore")
    found = zoo_nasc.examine(model) if tool == "nasc" else zoo_peers.examine(model, tool)
    try:
        for part in found:
            print(json.dumps(part), flush=True)
    except Exception:
        print(json.dumps({"broke": traceback.format_exc().strip().splitlines()[-1][:400]}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3])
