"""What the runner remembers between runs: the port (``base``), in files (``file``), in Elasticsearch
(``elasticsearch``)."""
