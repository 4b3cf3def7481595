"""The larger commands of ``c2p``, each in its module, and code that commands share."""
