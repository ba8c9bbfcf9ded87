"""How fast a node is and what it costs, measured on this machine: see README.md."""
