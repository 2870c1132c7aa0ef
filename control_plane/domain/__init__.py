"""What the product talks about, in words that no wire, driver or framework knows."""
