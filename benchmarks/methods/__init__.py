"""What is compared: the product, noise and disguises."""
