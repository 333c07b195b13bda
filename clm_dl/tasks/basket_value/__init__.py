"""Basket value: the amount of a customer's next order, whenever it comes."""
