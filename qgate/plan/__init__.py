"""What is judged, by whose lines, with whose consent."""
