"""How the shipped language model was made; nothing in the product imports this package."""
