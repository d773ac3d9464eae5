"""How much metrics agree about which nodes matter."""
