"""Bodies that walk and swim."""
