"""The shipping of events from the spool to a receiver in batches, with a checkpoint after each acknowledgement."""
