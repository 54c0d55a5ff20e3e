"""Notifications: one module a channel (email, slack, webhook, index, log), the port they share (``base``), the one
place that names them all (``registry``), and the queue that delivers them (``queue``)."""
