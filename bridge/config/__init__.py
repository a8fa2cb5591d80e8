"""The configuration: file and environment in, frozen settings or every problem out."""
