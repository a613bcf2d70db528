"""Commands that labelrepair adds to Kedro's own."""
