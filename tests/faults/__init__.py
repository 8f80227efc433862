"""What breaks on purpose: a table of kinds (`table`), and a test that causes each."""
