"""Clients run as processes, each in an environment that make test-clients makes for it."""

import json
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
# A client -> the environment of its own that make test-clients makes, its program.
CLIENTS = {
    "mediapipe 1.2.2": (".venv-mediapipe", "run_mediapipe.py"),
    "tflite-support 0.4.4": (".venv-tflite-support", "run_tflite_support.py"),
}


def run_client(client, files, texts, folder):
    """What a client makes of files: path -> {"outputs": [...]} or {"refused": why}.

    A client that dies goes on, started again, with the file after the one that killed it.
    """
    environment, program = CLIENTS[client]
    python = HERE.parents[1] / environment / "bin" / "python"
    answers, left = folder / "answers.jsonl", [(str(file.path), file.head) for file in files]
    answers.write_text("")
    found = {}
    while left:
        asked = {"texts": texts, "answers": str(answers)}
        asked["files"] = [{"path": path, "task": head} for path, head in left]
        done = subprocess.run(
            [python, HERE / program], input=json.dumps(asked), capture_output=True, text=True
        )
        found |= {row.pop("path"): row for row in map(json.loads, answers.read_text().splitlines())}
        left = [(path, head) for path, head in left if path not in found]
        if left and done.returncode > 0:
            raise RuntimeError(done.stderr[-2000:])
        if left:
            found[left.pop(0)[0]] = {"refused": f"killed by signal {-done.returncode}"}
    return found
