"""What users do with the Hub."""
