"""Plugins: specifications (`specs`), hooks (`hookspecs`), and their loading (`manager`)."""
