#!/usr/bin/env bash
# Does the teacher help? The demo's student against the same student, trained for the same number
# of steps at the same peak rate on the same text without a teacher. Needs runs/demo (make demo).
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"

read -r steps rate < <(python - <<'PY'
from mobilebert_tf.training.run_config import DistillConfig
config = DistillConfig()
print(config.transfer.phase.steps + config.distillation.steps, config.distillation.learning_rate)
PY
)
python -m mobilebert_tf.pretrain --model demo-student --role student \
  --output-dir runs/bare --training.steps "$steps" --training.learning-rate "$rate"
python - <<'PY'
import json
from pathlib import Path
models = json.loads(Path("runs/demo/evaluation.json").read_text())["models"]
print(f"with a teacher: {100 * models['student']['mlm_accuracy']:.1f} %")
PY
