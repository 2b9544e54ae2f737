"""What a study found: sentences, tables, pictures, and a page of them all."""
