"""Plugins: what they describe (`specs`), what they answer (`hookspecs`), who asks (`manager`)."""
