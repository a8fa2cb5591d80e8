"""Easee's formats: registry, enumerations, codecs, commands, requests and responses."""
