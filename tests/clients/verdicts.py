"""Whether a client's answer is the expected one, and its row of the table."""

import json


def as_expected(answer, difference, reason, limit):
    """Refused for the reason, or, if there is none, answered as we do."""
    if reason:
        return reason in answer.get("refused", "")
    return difference is not None and difference <= limit


def add_row(row, client, file, answer, difference):
    report = json.loads(file.path.with_suffix(".json").read_text())
    row(
        client=client,
        head=file.head,
        mode=file.mode,
        length=file.length or "any",
        TFLite=f">={report['min_runtime']}",
        result="ok" if "outputs" in answer else "refused: " + answer["refused"][:90],
        difference=difference,
    )
