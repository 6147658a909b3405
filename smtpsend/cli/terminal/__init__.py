"""What the commands print: text, tables, progress, and the timeline of a send."""
