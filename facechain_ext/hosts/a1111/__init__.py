"""AUTOMATIC1111's WebUI as a host: its loaded checkpoint trains and samples, and stays as it was."""
