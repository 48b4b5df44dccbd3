"""Pre-training, knowledge transfer, fine-tuning: losses, optimizers, the loop, run folders."""
