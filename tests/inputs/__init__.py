"""What people give to `pack` and `evaluate`: a table of cases (`cases`), and a test that makes and reads each."""
