"""Metrics of the covariance of activations and of inputs, and of spectra of both."""
