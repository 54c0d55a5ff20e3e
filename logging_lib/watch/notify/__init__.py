"""Notifications: one module a channel (``email``, ``slack``, ``teams``, ...), the port they share (``base``), the
one place that names them all (``registry``), and the queue that delivers them (``queue``)."""
