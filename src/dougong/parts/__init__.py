"""The modules that every architecture is assembled from. Imports torch and nothing else of ours."""
