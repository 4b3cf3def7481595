"""The commands of ``c2p`` that have a module of their own, and what commands share."""
