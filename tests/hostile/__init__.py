"""Tries to break every door: damaged and foreign files, wild options and texts, full disks."""
