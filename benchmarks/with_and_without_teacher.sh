#!/usr/bin/env bash
# Does the teacher help? The demo's student against the same student, trained for the same number
# of steps on the same text without a teacher. Needs runs/demo (make demo); takes a few minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"

steps=$(python - <<'PY'
from mobilebert_tf.run_config import DistillConfig
config = DistillConfig()
print(config.transfer.phase.steps + config.distillation.steps)
PY
)
# At both rates that the demo trains with: distillation's, and the higher one of teacher and transfer.
for rate in 3.0e-3 5.0e-3; do
  python -m mobilebert_tf.pretrain --model demo-student --role student \
    --output-dir "runs/bare-$rate" --training.steps "$steps" --training.learning-rate "$rate"
done
python - <<'PY'
import json
from pathlib import Path
models = json.loads(Path("runs/demo/evaluation.json").read_text())["models"]
print(f"with a teacher: {100 * models['student']['mlm_accuracy']:.1f} %")
PY
