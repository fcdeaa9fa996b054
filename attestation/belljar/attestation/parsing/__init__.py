"""Reading hostile structures a field at a time: fixed layouts of bytes, and JSON that somebody signed."""
