"""Pre-training, knowledge transfer and fine-tuning: objectives, optimizers, the loop, run folders."""
