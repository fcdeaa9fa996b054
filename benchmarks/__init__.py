"""How fast Belljar is, beside native and beside other sandboxes."""
