"""The run: device, epochs, evaluation, checkpoint, progress."""
