"""Store what the runner remembers between runs: the interface (``base``), in files (``file``), and in Elasticsearch
(``elasticsearch``)."""
