"""Pre-training, knowledge transfer and fine-tuning: losses, optimizers, loop and run folders."""
