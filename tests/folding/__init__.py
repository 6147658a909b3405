"""Texts for headers at random, and readers that say what a header means."""
