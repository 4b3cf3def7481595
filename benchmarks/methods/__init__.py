"""The methods compared: the product, noise and disguises."""
