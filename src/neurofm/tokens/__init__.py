"""What the model sees of a recording: tokens, batches, masks."""
