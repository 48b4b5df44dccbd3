"""What the client programs share: files and texts from stdin, a line of answers for each file."""

import json
import sys


def answer(tasks):
    """tasks: by name a function of a file's path and the texts, which yields an output for each."""
    asked = json.load(sys.stdin)
    with open(asked["answers"], "a") as answers:
        for file in asked["files"]:
            try:
                found = {"outputs": list(tasks[file["task"]](file["path"], asked["texts"]))}
            except (RuntimeError, ValueError) as error:
                found = {"refused": str(error)}
            print(json.dumps(found | {"path": file["path"]}), file=answers, flush=True)
