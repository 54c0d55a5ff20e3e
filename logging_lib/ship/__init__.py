"""From the spool to a receiver: batches, acknowledgement, and a checkpoint only after it."""
