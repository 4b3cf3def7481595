"""What is computed of pictures and similarities."""
