"""The report of an evaluation: one HTML file that opens offline and prints."""
