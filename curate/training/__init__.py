"""Fine-tuning: what to train with, in which batches, and the trainer itself."""
