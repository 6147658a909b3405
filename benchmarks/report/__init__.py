"""What a run shows: tables, goals, the crossing point and a picture."""
