"""Send notifications: one module per channel (``email``, ``slack``, ``teams``, ...), their common interface
(``base``), the list of all channels (``registry``), and the queue that delivers notifications (``queue``)."""
